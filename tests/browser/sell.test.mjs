// Sales: a ticket is created, changed and taken off sale; typed values are kept, and titles are shown as text.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PASSWORD } from "./support/account.mjs";
import { connected, refusal, row, says, signUp, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});

async function create(page, title, price) {
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill(title);
  await page.getByLabel("Price").fill(price);
  await page.getByRole("button", { name: "List ticket" }).click();
}

test("created ticket is in the seller's listings and in the list", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  await create(page, "Harbour Jazz", "19.99");
  await says(page.locator(".price"), "$19.99", 5_000);
  await page.getByRole("link", { name: "My listings" }).click();
  await says(row(page, "Harbour Jazz"), "Available", 5_000);
  await page.getByRole("link", { name: "GitTix" }).click();
  await says(row(page, "Harbour Jazz"), "$19.99", 5_000);
});

test("refused fields are marked, and typed values are kept, also after a reload", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(400)] });
  await create(page, "Negative Show", "-5");
  await says(page.locator(".field-error"), "from 0.50 to 999,999.99", 5_000);
  assert.equal(await page.getByLabel("Title").inputValue(), "Negative Show");
  assert.equal(await page.getByLabel("Price").getAttribute("aria-invalid"), "true");
  assert.equal(await page.evaluate(() => document.activeElement.name), "price");
  await page.reload();
  assert.equal(await page.getByLabel("Title").inputValue(), "Negative Show");
  assert.equal(await page.getByLabel("Price").inputValue(), "-5");
});

test("typed values are kept when the session ends", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(401)] });
  const email = await signUp(page);
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Kept Show");
  await page.context().clearCookies();
  await page.getByLabel("Price").fill("30");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".narrow"), "What you typed is saved", 5_000);
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Create a ticket" }).waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "Kept Show");
  assert.equal(await page.getByLabel("Price").inputValue(), "30");
});

test("title with markup is shown as text on every page", async (t) => {
  const title = '<img src=x onerror="document.title=1"> & <b>bold</b>';
  const page = await env.openPage(t, { signedIn: true });
  await create(page, title, "12");
  await says(page.locator("h1"), title, 5_000);
  await page.goto("/");
  await says(row(page, title), "$12", 5_000);
  assert.equal(await page.locator(".rows img, .rows b").count(), 0);
});

test("price change is accepted for an available ticket and refused for a locked one", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  const rival = await env.account("rival");
  await create(page, "Edited Show", "20");
  await says(page.locator(".price"), "$20", 5_000);
  await connected(page);
  const id = new URL(page.url()).pathname.split("/").at(-1);
  await page.getByLabel("Price").fill("22.5");
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(page.locator(".notice"), "Your changes are saved", 5_000);
  await says(page.locator(".price"), "$22.50");

  const order = await rival.lock({ id });
  await says(page.locator(".hint"), "A buyer is paying for this ticket");
  assert.equal(
    await page.getByRole("button", { name: "Save changes" }).getAttribute("aria-disabled"),
    "true",
  );
  await page.getByLabel("Price").fill("99");
  await rival.cancel(order);
  await says(page.locator(".hint"), "For sale");
  assert.equal(await page.getByLabel("Price").inputValue(), "99");
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(page.locator(".price"), "$99", 5_000);
});

test("price change on a page that missed the lock is refused, and the typed value is kept", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const page = await env.openPage(t, { expected: [refusal(409, 412)] });
  await page.routeWebSocket("**/ws*", (socket) => socket.close());
  await page.goto("/signin");
  await page.getByLabel("Email").fill(seller.email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "My orders" }).waitFor();
  const ticket = await seller.list("Edited Late", 20);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByLabel("Price").fill("80");
  await rival.lock(ticket);
  await page.getByRole("button", { name: "Save changes" }).click();
  await page.locator(".notice-bad").waitFor();
  assert.equal(await page.getByLabel("Price").inputValue(), "80");
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(
    page.locator(".notice-bad"),
    "A buyer is paying for this ticket, so you cannot change it now",
    5_000,
  );
  assert.equal(await page.getByLabel("Price").inputValue(), "80");
});

test("ticket is taken off sale after a confirmation", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  await create(page, "Withdrawn Show", "20");
  await page.getByRole("button", { name: "Take off sale" }).click();
  await page.getByRole("button", { name: "Take ticket off sale" }).click();
  await page.getByRole("heading", { name: "My listings" }).waitFor();
  await says(page.locator(".empty"), "You have no tickets listed", 5_000);
});

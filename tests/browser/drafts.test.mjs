// Drafts of changes to a ticket: they hold only typed values, apply to the current ticket, and are visible to their user only.

import assert from "node:assert/strict";
import { test } from "node:test";
import {
  connected,
  refusal,
  says,
  signIn,
  signUp,
  testEnvironment,
} from "./support/environment.mjs";

const env = testEnvironment({});

/** Returns a page with the signed-in seller at the editor of a ticket. */
async function editorOf(t, seller, ticket, options) {
  const page = await env.openPage(t, options);
  await page.goto("/signin");
  await signIn(page, seller.email);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByLabel("Price").waitFor();
  return page;
}

async function comeBack(page, ticket) {
  await page.getByRole("link", { name: "My Orders" }).click();
  await page.getByRole("heading", { name: "My Orders" }).waitFor();
  return () => page.goto(`/tickets/${ticket.id}`);
}

function change(seller, ticket, title, price) {
  return seller.ask("PUT", `/api/tickets/${ticket.id}`, { title, price });
}

test("draft of the price does not restore an old title, and a changed price asks the user", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Old Title", 20);
  const page = await editorOf(t, seller, ticket);
  await page.getByLabel("Price").fill("30");
  const open = await comeBack(page, ticket);
  await change(seller, ticket, "New Title", 25);
  await open();
  await says(
    page.locator(".field-conflict"),
    "The price was changed to 25 while you were editing",
    5_000,
  );
  assert.equal(await page.getByLabel("Title").inputValue(), "New Title");
  assert.equal(await page.getByLabel("Price").inputValue(), "30");

  await page.getByRole("button", { name: "Save changes" }).click();
  await says(page.locator(".notice"), "Choose below which value to keep", 5_000);
  assert.equal((await seller.ask("GET", `/api/tickets/${ticket.id}`)).price, 25);
  await page.getByRole("button", { name: "Keep “30”" }).click();
  const sent = page.waitForRequest((request) => request.method() === "PUT");
  await page.getByRole("button", { name: "Save changes" }).click();
  assert.equal((await sent).headers()["if-match"], '"1"');
  await says(page.locator(".notice"), "Your changes are saved", 5_000);
  const saved = await seller.ask("GET", `/api/tickets/${ticket.id}`);
  assert.deepEqual([saved.title, saved.price], ["New Title", 30]);
});

test("current value replaces the typed one when the user chooses it", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Two Values", 20);
  const page = await editorOf(t, seller, ticket);
  await connected(page);
  await page.getByLabel("Title").fill("Typed Title");
  await change(seller, ticket, "Changed Title", 22);
  await page.getByRole("button", { name: "Use “Changed Title”" }).click();
  assert.equal(await page.getByLabel("Title").inputValue(), "Changed Title");
  assert.equal(await page.getByLabel("Price").inputValue(), "22");
  await page.reload();
  await page.getByLabel("Price").waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "Changed Title");
  assert.equal(await page.locator(".field-conflict:not(:empty)").count(), 0);
});

test("change with an outdated version is refused, and the current value is shown beside the typed one", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Missed Change", 20);
  const page = await env.openPage(t, { expected: [refusal(412)] });
  await page.routeWebSocket("**/ws*", () => {}); // a connection without frames, so that no poll begins
  await page.goto("/signin");
  await signIn(page, seller.email);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByLabel("Price").fill("40");
  await change(seller, ticket, "Missed Title", 35);
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(
    page.locator(".field-conflict"),
    "The price was changed to 35 while you were editing",
    5_000,
  );
  assert.equal(await page.getByLabel("Title").inputValue(), "Missed Title");
  assert.equal(await page.getByLabel("Price").inputValue(), "40");
  const { title, price } = await seller.ask("GET", `/api/tickets/${ticket.id}`);
  assert.deepEqual([title, price], ["Missed Title", 35]);
});

test("field with the current value typed in is not a draft", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Typed Back", 20);
  const page = await editorOf(t, seller, ticket);
  await page.getByLabel("Price").fill("21");
  await page.getByLabel("Price").fill("20.00");
  const open = await comeBack(page, ticket);
  await change(seller, ticket, "Typed Back", 26);
  await open();
  await page.getByLabel("Price").waitFor();
  assert.equal(await page.getByLabel("Price").inputValue(), "26");
});

test("text typed while a change is being saved is kept and is not a conflict", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Typed On", 20);
  const page = await editorOf(t, seller, ticket);
  await connected(page);
  let answer;
  const typedOn = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route(`**/api/tickets/${ticket.id}`, async (route) => {
    if (route.request().method() === "PUT") await typedOn;
    await route.continue();
  });
  await page.getByLabel("Price").fill("21");
  await page.getByRole("button", { name: "Save changes" }).click();
  await page.getByLabel("Price").fill("215");
  answer();
  await says(page.locator(".notice"), "Your changes are saved", 5_000);
  await says(page.locator(".price"), "$21", 5_000);
  assert.equal(await page.getByLabel("Price").inputValue(), "215");
  assert.equal(await page.locator(".field-conflict:not(:empty)").count(), 0);
});

test("user who signs in after another user in the same tab sees no draft of that user", async (t) => {
  const bob = await env.account("bob");
  const page = await env.openPage(t);
  await signUp(page);
  await page.getByRole("link", { name: "Sell Tickets" }).click();
  await page.getByLabel("Title").fill("Typed by Ann");
  await page.getByLabel("Price").fill("77");
  await page.getByRole("button", { name: "Sign Out" }).click();
  await page.getByRole("link", { name: "Sign In" }).click();
  await signIn(page, bob.email);
  const empty = async () => {
    await page.getByLabel("Title").waitFor();
    for (const name of ["Title", "Price"])
      assert.equal(await page.getByLabel(name).inputValue(), "", name);
  };
  await page.getByRole("link", { name: "Sell Tickets" }).click();
  await empty();
  await page.reload();
  await empty();
  await page.goto("about:blank");
  await page.goBack();
  await empty();
  while (new URL(page.url()).pathname === "/tickets/new") await page.goBack();
  await page.goForward();
  await empty();
});

test("fields that may hold a draft forbid the browser to restore their values", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("No Autofill", 20);
  const page = await editorOf(t, seller, ticket);
  for (const path of [`/tickets/${ticket.id}`, "/tickets/new", "/"]) {
    await page.goto(path);
    await page.locator("main form").waitFor();
    const fields = await page
      .locator("main form :is(input, select, textarea)")
      .evaluateAll((all) => all.map(({ name, autocomplete }) => [name, autocomplete]));
    assert.ok(fields.length >= 2);
    for (const [name, autocomplete] of fields) assert.equal(autocomplete, "off", `${path} ${name}`);
  }
});

test("page restored from the browser's cache is hidden until the signed-in user is known", async (t) => {
  const bob = await env.account("bob");
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Typed by Ann");
  const other = await page.context().newPage();
  await other.goto("/");
  // Simulates the events of a document that the browser keeps for the back button.
  await page.evaluate(() =>
    dispatchEvent(new PageTransitionEvent("pagehide", { persisted: true })),
  );
  assert.equal(await page.getByLabel("Title").isVisible(), false);
  await other.getByRole("button", { name: "Sign Out" }).click();
  await other.getByRole("link", { name: "Sign In" }).click();
  await signIn(other, bob.email);
  let answer;
  const asked = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route("**/api/users/currentuser", async (route) => {
    await asked;
    await route.continue();
  });
  const question = page.waitForRequest("**/api/users/currentuser");
  await page.evaluate(() =>
    dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })),
  );
  await question;
  assert.equal(await page.getByLabel("Title").isVisible(), false);
  answer();
  await page.getByLabel("Title").waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "");
  await says(page.locator("#account"), bob.email, 5_000);
});

// Payments: accepted, declined and retried, confirmed, cancelled; with a reload and a step back at every stage.

import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal, row, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});

/** Returns the page of an order for a new ticket. */
async function openOrder(t, title, options = {}) {
  const seller = await env.account("seller");
  const ticket = await seller.list(title, 20);
  const page = await env.openPage(t, { signedIn: true, ...options });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  return { page, ticket };
}

async function pay(page, card) {
  await page.getByLabel(card).check();
  await page.getByRole("button", { name: "Pay $20" }).click();
}

test("accepted card sells the ticket for all users", async (t) => {
  const { page, ticket } = await openOrder(t, "Paid Show");
  const other = await env.openPage(t);
  await other.goto(`/tickets/${ticket.id}`);
  await says(other.locator(".status"), "Locked", 5_000);
  await pay(page, /4242/);
  await says(page.locator(".outcome"), "It's yours", 5_000);
  await says(page.locator(".attempts"), "$20 paid");
  await says(other.locator(".status"), "Sold");
});

test("declined card stays selected, another card pays, and each step survives a reload and going back", async (t) => {
  const { page, ticket } = await openOrder(t, "Declined Show", { expected: [refusal(402)] });
  const order = page.url();
  await page.reload();
  await pay(page, /0002/);
  await says(page.locator(".notice"), "Try another card", 5_000);
  assert.equal(await page.getByLabel(/0002/).isChecked(), true);

  await page.reload();
  await says(page.locator(".attempts"), "Declined", 5_000);
  await page.goBack();
  await says(page.locator(".status"), "Locked", 5_000);
  assert.ok(page.url().endsWith(ticket.id));
  await page.goForward();
  await page.locator(".hold-figures").waitFor();
  assert.equal(page.url(), order);

  await pay(page, /4242/);
  await says(page.locator(".outcome"), "It's yours", 5_000);
  await page.reload();
  await says(page.locator(".outcome"), "It's yours", 5_000);
  assert.equal(await page.getByRole("button", { name: /^Pay/ }).isVisible(), false);
});

test("bank confirmation is still open after a reload and completes the payment", async (t) => {
  const { page } = await openOrder(t, "Confirmed Show");
  await pay(page, /3184/);
  await says(page.locator(".confirm"), "Your bank wants you to confirm", 5_000);
  await page.reload();
  await says(page.locator(".confirm"), "Your bank wants you to confirm", 5_000);
  await page.getByRole("button", { name: "Confirm payment" }).click();
  await says(page.locator(".outcome"), "It's yours", 5_000);
});

test("payment requested twice is charged once", async (t) => {
  const { page } = await openOrder(t, "Paid Once");
  await page.getByLabel(/4242/).check();
  await page.getByRole("button", { name: "Pay $20" }).dblclick();
  await says(page.locator(".outcome"), "It's yours", 5_000);
  assert.equal(await page.locator(".attempts li").count(), 1);
});

test("cancelled order is shown as cancelled, releases the ticket, and is in the list of orders", async (t) => {
  const { page } = await openOrder(t, "Cancelled Show");
  await page.getByRole("button", { name: "Cancel this order" }).click();
  await page.getByRole("button", { name: "Keep order" }).click();
  await page.getByRole("button", { name: "Cancel this order" }).click();
  await page.getByRole("button", { name: "Cancel order" }).click();
  await says(page.locator(".outcome"), "You cancelled this order", 5_000);
  await page.reload();
  await says(page.locator(".outcome"), "You cancelled this order", 5_000);
  await page.getByRole("main").getByRole("link", { name: "My orders" }).click();
  await says(row(page, "Cancelled Show"), "Cancelled", 5_000);
  await page.goBack();
  await page.getByRole("link", { name: "View ticket" }).click();
  await says(page.locator(".status"), "Available", 5_000);
});

test("order of another user is not shown", async (t) => {
  const { page } = await openOrder(t, "Private Show");
  const stranger = await env.openPage(t, { signedIn: true, expected: [refusal(403)] });
  await stranger.goto(new URL(page.url()).pathname);
  await says(stranger.locator(".empty"), "This belongs to another account", 5_000);
});

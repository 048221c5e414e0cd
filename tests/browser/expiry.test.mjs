// Expiry of locks, with short durations.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, row, says, testEnvironment } from "./support/environment.mjs";

const PAYMENT_WINDOW_MS = 4_000;
const LOCK_MS = 6_500;
/** Maximum delay of a release: one second on the server, and another until the page shows it. */
const LATE_MS = 2_000;

const env = testEnvironment({
  GITTIX_PAYMENT_WINDOW: `${PAYMENT_WINDOW_MS}ms`,
  GITTIX_LOCK_DURATION: `${LOCK_MS}ms`,
});

test("end of the countdown is announced to the buyer, and the ticket is available to others", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Short Show", 50);
  const buyer = await env.openPage(t, { signedIn: true });
  const other = await env.openPage(t);
  await other.goto("/");
  await connected(other);
  await buyer.goto(`/tickets/${ticket.id}`);
  await buyer.getByRole("button", { name: "Buy" }).click();
  await buyer.locator(".hold-figures").waitFor();
  const shown = await buyer.locator(".hold-figures").textContent();
  assert.match(shown, /^0:0[34]$/);
  await buyer.waitForFunction(
    (before) => document.querySelector(".hold-figures").textContent < before,
    shown,
  );
  await says(row(other, "Short Show"), /Locked/);

  await says(
    buyer.locator(".outcome"),
    "The time to pay for this order has ended",
    PAYMENT_WINDOW_MS + LATE_MS,
  );
  assert.match(await row(other, "Short Show").locator(".status").textContent(), /Locked/);
  await says(row(other, "Short Show"), "Available", LOCK_MS - PAYMENT_WINDOW_MS + LATE_MS);
  assert.equal(await buyer.getByRole("button", { name: /^Pay/ }).isVisible(), false);
});

test("declined payment can be retried after the payment window until the lock ends", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Second Chance", 50);
  const buyer = await env.openPage(t, { signedIn: true, expected: [/status of 402/] });
  await buyer.goto(`/tickets/${ticket.id}`);
  await buyer.getByRole("button", { name: "Buy" }).click();
  await buyer.getByLabel(/0002/).check();
  await buyer.getByRole("button", { name: "Pay $50" }).click();
  await says(buyer.locator(".notice"), "The card was declined", 5_000);
  await says(buyer.locator(".hold-label"), "Time left to finish your payment");
  await buyer.waitForFunction(
    (until) => Date.now() > until,
    Date.parse(ticket.createdAt) + PAYMENT_WINDOW_MS + 500,
  );
  await buyer.getByLabel(/4242/).check();
  await buyer.getByRole("button", { name: "Pay $50" }).click();
  await says(buyer.locator(".outcome"), "It's yours", 5_000);
});

test("countdown follows the server's clock when the device's clock is wrong", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Wrong Clock", 50);
  const buyer = await env.openPage(t, { signedIn: true });
  await buyer.clock.install({ time: Date.now() + 3_600_000 });
  await buyer.goto(`/tickets/${ticket.id}`);
  await connected(buyer);
  await buyer.getByRole("button", { name: "Buy" }).click();
  await buyer.locator(".hold-figures").waitFor();
  assert.match(await buyer.locator(".hold-figures").textContent(), /^0:0[34]$/);
});

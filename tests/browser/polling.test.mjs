// Pages without a live connection: they load again after an action of their user, poll, and show that they do.

import assert from "node:assert/strict";
import { test } from "node:test";
import { refusal, row, says, signIn, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
/** Limit with a margin: the first poll is sent within two seconds, each further poll within seven. */
const POLLED_MS = 20_000;
const POLLING = "Live updates are not available. This page refreshes every few seconds.";

/** Blocks the live connection, as some proxies do. */
async function block(page) {
  await page.routeWebSocket("**/ws*", (socket) => socket.close());
}

/** Hides the page, so that it does not poll. Runs in the page before its own scripts. */
function hide() {
  Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
}

async function pageOf(t, account, { hidden = false, expected = [] } = {}) {
  const page = await env.openPage(t, { expected });
  await block(page);
  if (hidden) await page.addInitScript(hide);
  await page.goto("/signin");
  await signIn(page, account.email);
  return page;
}

test("order cancelled without a live connection is shown as cancelled", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Blocked Cancel", 20);
  const page = await pageOf(t, await env.account("buyer"), { hidden: true });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.getByRole("button", { name: "Pay $20" }).waitFor();
  await page.getByRole("button", { name: "Cancel this order" }).click();
  await page.getByRole("button", { name: "Cancel order" }).click();
  await says(page.locator(".outcome"), "You cancelled this order", 5_000);
  assert.equal(await page.locator(".hold-figures").isVisible(), false);
  assert.equal(await page.getByRole("button", { name: "Pay $20" }).isVisible(), false);
});

test("order that ended elsewhere is updated after its payment is refused", async (t) => {
  const seller = await env.account("seller");
  const buyer = await env.account("buyer");
  const order = await buyer.lock(await seller.list("Blocked Pay", 20));
  const page = await pageOf(t, buyer, { hidden: true, expected: [refusal(409)] });
  await page.goto(`/orders/${order.id}`);
  await page.getByRole("button", { name: "Pay $20" }).waitFor();
  await buyer.cancel(order);
  await page.getByRole("button", { name: "Pay $20" }).click();
  await says(page.locator(".outcome"), "You cancelled this order", 5_000);
  assert.equal(await page.getByRole("button", { name: "Pay $20" }).isVisible(), false);
});

test("declined payment without a live connection shows the reason and is in the list of payments", async (t) => {
  const seller = await env.account("seller");
  const buyer = await env.account("buyer");
  const order = await buyer.lock(await seller.list("Blocked Decline", 20));
  const page = await pageOf(t, buyer, { hidden: true, expected: [refusal(402)] });
  await page.goto(`/orders/${order.id}`);
  await page.getByLabel(/9995/).check();
  await page.getByRole("button", { name: "Pay $20" }).click();
  await says(page.locator(".notice"), "insufficient funds", 5_000);
  await says(page.locator(".attempts"), "insufficient funds");
});

test("list without a live connection polls and shows a message about it", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const [locked, sold, removed] = [
    await seller.list("Polled locked", 20),
    await seller.list("Polled sold", 20),
    await seller.list("Polled removed", 20),
  ];
  const page = await env.openPage(t, { expected: [refusal(404)] });
  await block(page);
  await page.goto("/?q=polled");
  await says(row(page, "Polled locked"), "Available", 5_000);
  await says(page.locator("#connection"), POLLING, POLLED_MS);
  await rival.lock(locked);
  await rival.pay(await rival.lock(sold));
  await seller.ask("DELETE", `/api/tickets/${removed.id}`);
  await seller.list("Polled new", 20);
  await says(row(page, "Polled locked"), "Locked", POLLED_MS);
  await says(row(page, "Polled sold"), "Sold", POLLED_MS);
  await says(row(page, "Polled removed"), "No longer for sale", POLLED_MS);
  await says(page.locator(".news"), "1 new ticket", POLLED_MS);
  assert.equal(await page.locator(".row").count(), 3);
});

test("empty list without a live connection shows new tickets without a click", async (t) => {
  const seller = await env.account("seller");
  const page = await env.openPage(t);
  await block(page);
  await page.goto("/?q=vacant");
  await says(page.locator(".empty"), "No tickets found for “vacant”", 5_000);
  await seller.list("Vacant Seat", 20);
  await says(row(page, "Vacant Seat"), "Available", POLLED_MS);
});

test("ticket page without a live connection sends If-None-Match with its version", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Polled Ticket", 20);
  const page = await env.openPage(t);
  await block(page);
  const unchanged = page.waitForResponse(
    (response) => response.url().endsWith(ticket.id) && response.status() === 304,
    { timeout: POLLED_MS },
  );
  await page.goto(`/tickets/${ticket.id}`);
  await unchanged;
  await says(page.locator("#connection"), POLLING, POLLED_MS);
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Polled Ticket", price: 31 });
  await says(page.locator(".price"), "$31", POLLED_MS);
});

test("order, orders and listings without a live connection show changes made elsewhere", async (t) => {
  const seller = await env.account("seller");
  const [first, second] = [
    await seller.list("Elsewhere 1", 20),
    await seller.list("Elsewhere 2", 20),
  ];
  const buyer = await env.account("buyer");
  const orders = [await buyer.lock(first), await buyer.lock(second)];
  const page = await pageOf(t, buyer);
  await page.goto(`/orders/${orders[0].id}`);
  await page.locator(".hold-figures").waitFor();
  await buyer.cancel(orders[0]);
  await says(page.locator(".outcome"), "You cancelled this order", POLLED_MS);
  await page.goto("/orders");
  await says(row(page, "Elsewhere 2"), "left to pay", 5_000);
  await buyer.cancel(orders[1]);
  await says(row(page, "Elsewhere 2"), "Cancelled", POLLED_MS);
  await page.goto("/listings");
  await page.locator(".empty").waitFor();
  await buyer.list("Elsewhere 3", 20);
  await says(row(page, "Elsewhere 3"), "Available", POLLED_MS);
});

test("page without live content shows no message about refreshing", async (t) => {
  const page = await pageOf(t, await env.account("buyer"));
  await says(page.locator("#connection"), POLLING, POLLED_MS);
  await page.getByRole("link", { name: "Sell Tickets" }).click();
  await page.getByLabel("Title").waitFor();
  assert.equal(
    (await page.locator("#connection").textContent()).trim(),
    "Live updates are not available.",
  );
});

test("page whose polls get no response reports a lost connection", async (t) => {
  const page = await env.openPage(t, { expected: [/net::ERR_|WebSocket connection to/] });
  await block(page);
  await page.goto("/");
  await says(page.locator("#connection"), POLLING, POLLED_MS);
  await page.route("**/api/**", (route) => route.abort());
  await says(page.locator("#connection"), "Connection lost", POLLED_MS);
});

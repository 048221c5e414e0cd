// Live updates: a change by one user is on the page of another within a second, in place.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, row, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});

test("ticket locked and released in one browser changes in another without a reload", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Rock Concert", 100);
  const buyer = await env.openPage(t, { signedIn: true });
  const list = await env.openPage(t);
  const other = await env.openPage(t);
  await list.goto("/");
  await other.goto(`/tickets/${ticket.id}`);
  await Promise.all([connected(list), connected(other)]);
  await says(row(list, "Rock Concert"), "Available", 5_000);

  await buyer.goto(`/tickets/${ticket.id}`);
  await buyer.getByRole("button", { name: "Buy" }).click();
  await Promise.all([
    says(row(list, "Rock Concert"), "Locked"),
    says(other.locator(".status"), "Locked"),
  ]);
  assert.match(
    await row(list, "Rock Concert").locator(".status").textContent(),
    /Locked · 1[45]:\d\d left/,
  );
  assert.equal(
    await other.getByRole("button", { name: "Sign in to buy" }).getAttribute("aria-disabled"),
    "true",
  );

  await buyer.getByRole("button", { name: "Cancel this order" }).click();
  await buyer.getByRole("button", { name: "Cancel order" }).click();
  await Promise.all([
    says(row(list, "Rock Concert"), "Available"),
    says(other.locator(".status"), "Available"),
  ]);
  await says(buyer.locator(".outcome"), "You cancelled this order");
});

test("price change, sale and removal update the row in place", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const [repriced, sold, removed] = [
    await seller.list("Repriced Opera", 20),
    await seller.list("Sold Opera", 30),
    await seller.list("Removed Opera", 40),
  ];
  const page = await env.openPage(t);
  await page.goto("/?q=opera");
  await connected(page);
  await says(row(page, "Repriced Opera"), "$20", 5_000);
  const before = await row(page, "Repriced Opera").boundingBox();

  await seller.ask("PUT", `/api/tickets/${repriced.id}`, { title: "Repriced Opera", price: 25.5 });
  await says(row(page, "Repriced Opera"), "$25.50");
  await rival.pay(await rival.lock(sold));
  await says(row(page, "Sold Opera"), "Sold");
  await seller.ask("DELETE", `/api/tickets/${removed.id}`);
  await says(row(page, "Removed Opera"), "No longer for sale");
  assert.deepEqual(await row(page, "Repriced Opera").boundingBox(), before);
});

test("new tickets are counted, and shown after a click without an earlier layout shift", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Early Circus", 10);
  const page = await env.openPage(t);
  await page.goto("/?q=circus");
  await connected(page);
  await says(row(page, "Early Circus"), "Available", 5_000);
  const before = await row(page, "Early Circus").boundingBox();

  await seller.list("Late Circus", 11);
  await seller.list("Later Circus", 12);
  await seller.list("Something else", 13);
  await says(page.locator(".news"), "2 new tickets");
  assert.deepEqual(await row(page, "Early Circus").boundingBox(), before);
  assert.equal(await page.locator(".row").count(), 1);

  await page.locator(".news").click();
  await says(row(page, "Later Circus"), "Available");
  assert.equal(await page.locator(".row").count(), 3);
  assert.equal(await page.locator(".news").isVisible(), false);
});

test("empty list shows new tickets without a click", async (t) => {
  const seller = await env.account("seller");
  const page = await env.openPage(t);
  await page.goto("/?q=zirkus");
  await connected(page);
  await says(page.locator(".empty"), "No tickets found for “zirkus”", 5_000);
  // The list may be some milliseconds behind the frame, so an immediate request may return an empty list.
  let asked = 0;
  await page.route("**/api/tickets?*", (route) => {
    asked += 1;
    return asked === 1 ? route.fulfill({ json: [] }) : route.continue();
  });
  await seller.list("Zirkus", 10);
  await says(row(page, "Zirkus"), "Available", 5_000);
  assert.ok(asked > 1, "the list was requested while it was outdated");
});

test("action in one tab is shown in another tab of the same user", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Two Tabs", 15);
  const first = await env.openPage(t, { signedIn: true });
  const second = await first.context().newPage();
  await second.goto("/orders");
  await connected(second);
  await says(second.locator(".empty"), "You have no open orders", 5_000);
  await first.goto(`/tickets/${ticket.id}`);
  await first.getByRole("button", { name: "Buy" }).click();
  await says(row(second, "Two Tabs"), "left to pay");
});

// Purchases: one order for each purchase, decided by the server, and helpful messages for each refusal.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PASSWORD } from "./support/account.mjs";
import { connected, refusal, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({ GITTIX_MAX_LOCKS: "1" });

/** Closes the live connection of a page, so that the page shows an outdated state. */
async function blockLiveConnection(page) {
  await page.routeWebSocket("**/ws*", (socket) => socket.close());
}

async function ordersOf(page) {
  return page.evaluate(() => fetch("/api/orders").then((answer) => answer.json()));
}

test("double click on Buy creates one order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Double Click", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto(`/tickets/${ticket.id}`);
  let asked = 0;
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/api/orders")) asked += 1;
  });
  await page.getByRole("button", { name: "Buy" }).dblclick();
  await page.locator(".hold-figures").waitFor();
  assert.equal(asked, 1);
  assert.equal((await ordersOf(page)).length, 1);
});

test("request with a lost response is sent again with the same key and creates one order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Lost Answer", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [/net::ERR_CONNECTION_RESET/] });
  const keys = [];
  await page.route("**/api/orders", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    keys.push(route.request().headers()["idempotency-key"]);
    const answer = await route.fetch();
    return keys.length === 1 ? route.abort("connectionreset") : route.fulfill({ response: answer });
  });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.equal((await ordersOf(page)).length, 1);
});

test("purchase on a page that missed the lock is refused with advice", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("Missed Lock", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(409)] });
  await blockLiveConnection(page);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).waitFor();
  await rival.lock(ticket);
  await page.getByRole("button", { name: "Buy" }).click();
  await says(page.locator(".notice"), "Another buyer is paying for this ticket right now", 5_000);
  await says(page.locator(".status"), "Locked");
});

test("purchase at an outdated price is refused, and the new price is shown", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Dearer Now", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(409)] });
  await blockLiveConnection(page);
  await page.goto(`/tickets/${ticket.id}`);
  await says(page.locator(".price"), "$20", 5_000);
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: ticket.title, price: 35 });
  await page.getByRole("button", { name: "Buy" }).click();
  await says(page.locator(".notice"), "The price of this ticket has changed", 5_000);
  await says(page.locator(".price"), "$35");
  await page.getByRole("button", { name: "Buy" }).click();
  await page.getByRole("button", { name: "Pay $35" }).waitFor();
});

test("purchase with an outdated title is refused, and the new title is shown", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Front Row Seat", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(409)] });
  await blockLiveConnection(page);
  await page.goto(`/tickets/${ticket.id}`);
  await says(page.locator("h1"), "Front Row Seat", 5_000);
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Parking Lot Pass", price: 20 });
  await page.getByRole("button", { name: "Buy" }).click();
  await says(
    page.locator(".notice"),
    "The seller has changed the title of this ticket. It was “Front Row Seat” before.",
    5_000,
  );
  await says(page.locator("h1"), "Parking Lot Pass");
  assert.deepEqual(await ordersOf(page), []);
  const sent = page.waitForRequest(
    (request) => request.method() === "POST" && request.url().endsWith("/api/orders"),
  );
  await page.getByRole("button", { name: "Buy" }).click();
  assert.equal((await sent).postDataJSON().expectedVersion, 1);
  await page.locator(".hold-figures").waitFor();
});

test("title change on an open page is marked", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Box Seat", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Standing Room", price: 25 });
  await says(page.locator("h1"), "Standing Room");
  await says(
    page.locator(".notice"),
    "The seller has changed the title and the price of this ticket. It was “Box Seat” before.",
  );
});

test("purchase before the first response about the session names the signed-in user", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Slow Answer", 20);
  const page = await env.openPage(t, { signedIn: true });
  let asked = 0;
  let answer;
  await page.route("**/api/users/currentuser", async (route) => {
    asked += 1;
    if (asked === 1)
      await new Promise((resolve) => {
        answer = resolve;
      });
    await route.continue();
  });
  await page.goto(`/tickets/${ticket.id}`);
  const sent = page.waitForRequest((request) => request.method() === "POST");
  await page.getByRole("button", { name: "Buy" }).click();
  assert.ok((await sent).headers()["gittix-user"]);
  await page.locator(".hold-figures").waitFor();
  answer();
});

test("signed-out buyer signs in and returns to the ticket", async (t) => {
  const seller = await env.account("seller");
  const buyer = await env.account("buyer");
  const ticket = await seller.list("Come Back", 20);
  const page = await env.openPage(t, { expected: [refusal(401)] });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Sign in to buy" }).click();
  await page.getByLabel("Email").fill(buyer.email);
  await page.getByLabel("Password", { exact: true }).fill("wrong password");
  await page.getByRole("button", { name: "Sign in" }).click();
  await says(page.locator(".notice"), "The email address or the password is wrong", 5_000);
  assert.equal(await page.getByLabel("Email").inputValue(), buyer.email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
});

test("buyer at the limit of open orders gets a link to them", async (t) => {
  const seller = await env.account("seller");
  const [first, second] = [
    await seller.list("One Held", 20),
    await seller.list("One Too Many", 20),
  ];
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(429)] });
  await page.goto(`/tickets/${first.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await page.goto(`/tickets/${second.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await says(page.locator(".notice"), "You cannot reserve this ticket right now", 5_000);
  await page.getByRole("link", { name: "See my orders" }).click();
  await says(page.locator(".row"), "One Held", 5_000);
});

test("ticket page links to the buyer's own order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Found Again", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  const order = page.url();
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  await page.getByRole("button", { name: "Continue your order" }).click();
  await page.locator(".hold-figures").waitFor();
  assert.equal(page.url(), order);
});

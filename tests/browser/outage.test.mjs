// Interruptions of the connection: the page reports them, reconnects by itself, and misses no change.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, refusal, row, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const BACK_MS = 20_000;
const NETWORK = [/net::ERR_|WebSocket connection to/];

test("open page reports a killed server, reconnects after the restart, and shows the changes", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Power Cut", 20);
  const page = await env.openPage(t, { expected: NETWORK });
  await page.goto("/");
  await connected(page);
  await says(row(page, "Power Cut"), "$20", 5_000);

  await env.server.kill();
  await page.locator("#connection").waitFor({ state: "visible" });
  assert.equal(await row(page, "Power Cut").isVisible(), true);
  await env.server.start();
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Power Cut", price: 21 });
  await page.locator("#connection").waitFor({ state: "hidden", timeout: BACK_MS });
  await says(row(page, "Power Cut"), "$21", 2_000);
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Power Cut", price: 22 });
  await says(row(page, "Power Cut"), "$22");
});

// A starting server answers 503 until it is ready.
test("open order continues after an outage of the server", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Held Through", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [...NETWORK, refusal(503)] });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await env.server.kill();
  await page.getByLabel(/4242/).check();
  await page.getByRole("button", { name: "Pay $20" }).click();
  await env.server.start();
  await says(page.locator(".outcome"), "It's yours", BACK_MS);
  assert.equal(await page.locator(".attempts li").count(), 1);
});

test("silent connection is detected when the tab is shown, and the page catches up", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Sleeper", 20);
  const page = await env.openPage(t, { expected: NETWORK });
  let silent = false;
  let sockets = 0;
  await page.routeWebSocket("**/ws*", (socket) => {
    sockets += 1;
    const number = sockets;
    const server = socket.connectToServer();
    socket.onMessage((message) => {
      if (number > 1 || !silent) server.send(message);
    });
    server.onMessage((message) => {
      if (number > 1 || !silent) socket.send(message);
    });
  });
  await page.goto("/");
  await connected(page);
  await says(row(page, "Sleeper"), "$20", 5_000);
  silent = true;
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "Sleeper", price: 23 });
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await says(row(page, "Sleeper"), "$23", BACK_MS);
  assert.ok(sockets > 1);
});

/** Opens the list by a link from another page. A list opened by its address has its first tickets in the document. */
async function openListByLink(page) {
  await page.goto("/signin");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await page.locator("html[data-app=shown]").waitFor({ state: "attached" });
  await page.getByRole("link", { name: "GitTix" }).click();
}

test("list that fails to load shows an error and loads after a retry", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Late Load", 20);
  const page = await env.openPage(t, { expected: NETWORK });
  let broken = true;
  await page.routeWebSocket("**/ws*", () => {}); // a connection without frames, so that only the button loads again
  await page.route("**/api/tickets?*", (route) => (broken ? route.abort() : route.continue()));
  await openListByLink(page);
  await says(page.locator(".notice"), "GitTix did not answer", 5_000);
  broken = false;
  await page.getByRole("button", { name: "Try again" }).click();
  await says(row(page, "Late Load"), "$20", 5_000);
});

test("list that failed to load is loaded when the connection opens", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Self Load", 20);
  const page = await env.openPage(t, { expected: NETWORK });
  let broken = true;
  await page.route("**/api/tickets?*", (route) => (broken ? route.abort() : route.continue()));
  let greet;
  await page.routeWebSocket("**/ws*", (socket) => {
    greet = () =>
      socket.send(
        JSON.stringify({
          type: "Hello",
          serverTime: new Date().toISOString(),
          cursor: "AAAA",
          resumed: false,
        }),
      );
  });
  await openListByLink(page);
  await says(page.locator(".notice"), "GitTix did not answer", 5_000);
  broken = false;
  greet();
  await says(row(page, "Self Load"), "$20", 5_000);
});

test("missed changes are loaded again: rows update in place, removed tickets are marked, new ones are counted", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const [repriced, sold, removed] = [
    await seller.list("Missed repriced", 20),
    await seller.list("Missed sold", 20),
    await seller.list("Missed removed", 20),
  ];
  const page = await env.openPage(t, { expected: NETWORK });
  const sockets = [];
  await page.routeWebSocket("**/ws*", (socket) => {
    sockets.push(socket);
    if (sockets.length > 1) return void socket.connectToServer();
    // The first connection sends only a Hello, with a cursor that cannot be resumed.
    socket.connectToServer().onMessage((text) => {
      const frame = JSON.parse(text);
      if (frame.type === "Hello") socket.send(JSON.stringify({ ...frame, cursor: "AAAA" }));
    });
  });
  await page.goto("/?q=missed");
  await connected(page);
  await says(row(page, "Missed repriced"), "$20", 5_000);
  await seller.ask("PUT", `/api/tickets/${repriced.id}`, { title: repriced.title, price: 24 });
  await rival.pay(await rival.lock(sold));
  await seller.ask("DELETE", `/api/tickets/${removed.id}`);
  await seller.list("Missed new", 20);
  assert.match(
    await row(page, "Missed repriced").textContent(),
    /\$20/,
    "the page has missed the change",
  );

  await sockets[0].close();
  await says(row(page, "Missed repriced"), "$24", BACK_MS);
  await says(row(page, "Missed sold"), "No longer for sale");
  await says(row(page, "Missed removed"), "No longer for sale");
  await says(page.locator(".news"), "1 new ticket");
  assert.equal(await page.locator(".row").count(), 3);
});

// No axe-core violation in any lasting state of a page: lost connection, loading, errors, refusals, outcomes, questions. Each
// state is checked in both colour schemes. The most frequent states are in everyone.test.mjs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import { findings } from "./support/axe.mjs";
import {
  connected,
  PHONE,
  refusal,
  row,
  says,
  signUp,
  testEnvironment,
} from "./support/environment.mjs";

const env = testEnvironment({});
const EXPECTED = [/net::ERR_|WebSocket connection to/, refusal(401, 402, 404, 409)];
const NOWHERE = "00000000-0000-7000-8000-000000000000";

/** Fails if axe-core reports a violation on the current page in one of the colour schemes. */
async function check(page, where) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(settled);
    assert.deepEqual(await findings(page), [], `${where}, ${colorScheme}`);
  }
}

/** Waits in the page until all finite animations have finished. */
function settled() {
  const lasting = document
    .getAnimations()
    .filter(({ effect }) => effect.getComputedTiming().endTime !== Infinity);
  return Promise.allSettled(lasting.map(({ finished }) => finished));
}

/** Blocks all sockets, so that the page shows the message about the connection. */
async function disconnected(page) {
  await page.routeWebSocket("**/ws*", (socket) => socket.close());
}

async function lost(page) {
  await page.locator("#connection").waitFor({ state: "visible" });
}

/** Returns a page of a signed-in user who holds the ticket. */
async function openOrder(t, title) {
  const seller = await env.account("seller");
  const ticket = await seller.list(title, 20);
  const page = await env.openPage(t, { size: PHONE, signedIn: true, expected: EXPECTED });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  return { page, seller, ticket };
}

async function pay(page, card) {
  await page.getByLabel(card).check();
  await page.getByRole("button", { name: /^Pay/ }).click();
}

test("axe-core reports no violation on any page with a lost connection", async (t) => {
  const { page, ticket } = await openOrder(t, "Lost Connection");
  const order = new URL(page.url()).pathname;
  await disconnected(page);
  const loaded = [
    ["/", ".row"],
    [`/tickets/${ticket.id}`, ".status"],
    [order, ".hold-figures"],
    ["/orders", ".row"],
    ["/listings", ".empty"],
    ["/tickets/new", "form"],
    ["/account", "form"],
  ];
  for (const [path, shown] of loaded) {
    await page.goto(path);
    await page.locator(shown).first().waitFor();
    await lost(page);
    await check(page, path);
  }
});

test("axe-core reports no violation on pages that are loading or failed to load", async (t) => {
  const page = await env.openPage(t, { size: PHONE, expected: EXPECTED });
  let hold;
  const held = new Promise((release) => {
    hold = release;
  });
  let broken = false;
  await page.route("**/api/tickets?*", async (route) => {
    if (broken) return route.abort();
    await held;
    return route.abort();
  });
  await page.goto("/");
  await page.getByRole("heading", { level: 1 }).waitFor();
  await check(page, "list, loading");
  broken = true;
  hold();
  await page.locator(".notice").waitFor();
  await check(page, "list, not loaded");
  await page.goto("/no/such/page");
  await page.locator(".empty, h1").first().waitFor();
  await check(page, "no such page");
});

test("axe-core reports no violation on a refused sign-in and sign-up", async (t) => {
  const other = await env.account("other");
  const page = await env.openPage(t, { size: PHONE, expected: EXPECTED });
  await page.goto(`/signin?next=${encodeURIComponent("/orders")}`);
  await page.getByLabel("Email").fill(newEmail("unknown"));
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".notice").waitFor();
  await check(page, "sign in, wrong password");
  await page.goto("/signup");
  await page.getByLabel("Email").fill(other.email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.locator(".notice, .field-error:not(:empty)").first().waitFor();
  await check(page, "sign up, email address in use");
});

test("axe-core reports no violation on a ticket in each of its states", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("State Concert", 20);
  const page = await env.openPage(t, { size: PHONE, expected: EXPECTED });
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  await check(page, "available, signed out");
  await seller.ask("PUT", `/api/tickets/${ticket.id}`, { title: "State Opera", price: 25 });
  await says(page.locator("h1"), "State Opera", 5_000);
  await page.locator(".notice").waitFor();
  await check(page, "changed by its seller");
  const order = await rival.lock(ticket);
  await says(page.locator(".status"), "Locked", 5_000);
  await check(page, "locked, signed out");
  await rival.pay(order);
  await says(page.locator(".status"), "Sold", 5_000);
  await check(page, "sold");
  await page.goto(`/tickets/${NOWHERE}`);
  await page.locator(".empty").waitFor();
  await check(page, "does not exist");
});

test("axe-core reports no violation on a list with new and changed tickets", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("Changing Row", 20);
  const page = await env.openPage(t, { size: PHONE });
  await page.goto("/?q=changing");
  await connected(page);
  await says(row(page, "Changing Row"), "Available", 5_000);
  await seller.list("Changing News", 20);
  await says(page.locator(".news"), "1 new ticket", 5_000);
  await rival.pay(await rival.lock(ticket));
  await says(row(page, "Changing Row"), "Sold", 5_000);
  await check(page, "list with news and a sold ticket");
});

test("axe-core reports no violation on an order that is confirmed, paid and listed", async (t) => {
  const { page } = await openOrder(t, "Confirmed Show");
  await pay(page, /3184/);
  await page.locator(".confirm").waitFor();
  await check(page, "the bank asks");
  await page.getByRole("button", { name: "Confirm payment" }).click();
  await says(page.locator(".outcome"), "It's yours", 5_000);
  await check(page, "paid");
  await page.goto("/orders");
  await says(row(page, "Confirmed Show"), "Bought", 5_000);
  await check(page, "orders, only past ones");
});

test("axe-core reports no violation on a cancelled order", async (t) => {
  const { page } = await openOrder(t, "Cancelled Show");
  await page.getByRole("button", { name: "Cancel this order" }).click();
  await page.getByRole("button", { name: "Cancel order" }).waitFor();
  await check(page, "the question");
  await page.getByRole("button", { name: "Cancel order" }).click();
  await says(page.locator(".outcome"), "You cancelled this order", 5_000);
  await check(page, "cancelled");
});

test("axe-core reports no violation on empty pages of a new user and on a changed account", async (t) => {
  const page = await env.openPage(t, { size: PHONE, expected: [refusal(403)] });
  await signUp(page);
  for (const path of ["/orders", "/listings"]) {
    await page.goto(path);
    await page.locator(".empty").waitFor();
    await check(page, path);
  }
  await page.goto("/account");
  const form = page
    .locator("form")
    .filter({ has: page.getByRole("button", { name: "Change password" }) });
  for (const current of ["not the password", PASSWORD]) {
    await form.getByLabel("New password", { exact: true }).fill("another horse battery");
    await form.getByLabel("Current password", { exact: true }).fill(current);
    await form.getByRole("button", { name: "Change password" }).click();
    const kind = current === PASSWORD ? ".notice-good" : ".notice-bad, .notice-warn";
    await form.locator(kind).waitFor();
    await check(page, `account, ${kind}`);
  }
});

test("axe-core reports no violation on a page after another user signed in", async (t) => {
  const page = await env.openPage(t, { size: PHONE, signedIn: true });
  await page.goto("/account");
  const tab = await page.context().newPage();
  await tab.goto("/");
  await tab.getByRole("button", { name: "Sign out" }).click();
  await tab.getByRole("link", { name: "Sign in" }).first().waitFor();
  await signUp(tab, newEmail("second"));
  await page.bringToFront();
  await page.locator("#session-notice .notice").first().waitFor();
  await check(page, "another user is signed in");
});

// Values that a tab keeps for its user: no secret is in web storage, and the next user gets none of them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { PASSWORD } from "./support/account.mjs";
import { refusal, row, says, signIn, signUp, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const NEW_PASSWORD = "another horse battery";
/** Maximum duration of four attempts with their pauses. */
const GIVES_UP_MS = 15_000;

/** Returns the web storage of a tab, by name and value. */
function webStorageOf(page) {
  return page.evaluate(() => [...Object.entries(sessionStorage), ...Object.entries(localStorage)]);
}

/** Returns the names in the web storage of a tab that belong to its user. */
async function keptNames(page) {
  return (await webStorageOf(page))
    .map(([name]) => name)
    .filter((name) => /^(draft|intent|owner)/.test(name));
}

/** Aborts the responses to one request. Returns the Idempotency-Keys of the attempts. */
async function abortResponses(page, method, path) {
  const keys = [];
  await page.route(`**${path}`, (route) => {
    if (route.request().method() !== method) return route.fallback();
    keys.push(route.request().headers()["idempotency-key"]);
    return route.abort();
  });
  return keys;
}

async function typeTicket(page, title, price) {
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill(title);
  await page.getByLabel("Price").fill(price);
}

/** Opens another tab in the same browser. */
async function openOtherTab(page) {
  const tab = await page.context().newPage();
  await tab.goto("/");
  await tab.getByRole("button", { name: "Sign out" }).waitFor();
  return tab;
}

test("password change without an answer leaves no secret in web storage, before and after sign-out", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: [/net::ERR_FAILED/] });
  const keys = await abortResponses(page, "PUT", "/api/users/currentuser");
  await page.goto("/account");
  const form = page
    .locator("form")
    .filter({ has: page.getByRole("button", { name: "Change password" }) });
  await form.getByLabel("New password", { exact: true }).fill(NEW_PASSWORD);
  await form.getByLabel("Current password", { exact: true }).fill(PASSWORD);
  await form.getByRole("button", { name: "Change password" }).click();
  await says(form.locator(".notice"), "GitTix did not answer", GIVES_UP_MS);
  assert.deepEqual(
    await keptNames(page),
    ["owner"],
    "web storage holds nothing of the request, not even a digest",
  );
  const again = page.waitForRequest((request) => request.method() === "PUT");
  await form.getByRole("button", { name: "Change password" }).click();
  await again;
  assert.equal(new Set(keys).size, 1, "all attempts have the same key");
  await says(form.locator(".notice"), "GitTix did not answer", GIVES_UP_MS);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in" }).waitFor();
  const after = JSON.stringify(await webStorageOf(page));
  for (const secret of [PASSWORD, NEW_PASSWORD]) assert.ok(!after.includes(secret));
  assert.deepEqual(await keptNames(page), []);
});

test("password change is reported as successful when the old session ends before the response arrives", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/account");
  let changing = false;
  await page.route("**/api/users/currentuser", async (route) => {
    if (route.request().method() !== "PUT")
      return changing ? route.fulfill({ json: { currentUser: null } }) : route.fallback();
    changing = true;
    const response = await route.fetch();
    // The focus makes the page request the user. When a later response has arrived, the response to that request has too.
    await page.evaluate(() => dispatchEvent(new Event("focus")));
    await page.evaluate(() => fetch("/api/users/currentuser").then((answer) => answer.text()));
    changing = false;
    return route.fulfill({ response });
  });
  const form = page
    .locator("form")
    .filter({ has: page.getByRole("button", { name: "Change password" }) });
  await form.getByLabel("New password", { exact: true }).fill(NEW_PASSWORD);
  await form.getByLabel("Current password", { exact: true }).fill(PASSWORD);
  await form.getByRole("button", { name: "Change password" }).click();
  await says(form.locator(".notice"), "Your password is changed", 5_000);
});

test("key of a request without a response is stored under a digest and is still there after a reload", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: [/net::ERR_FAILED/] });
  await typeTicket(page, "Reloaded Show", "21");
  const keys = await abortResponses(page, "POST", "/api/tickets");
  const failed = page.waitForEvent("requestfailed");
  await page.getByRole("button", { name: "List ticket" }).click();
  await failed;
  const intents = (await webStorageOf(page)).filter(([name]) => name.startsWith("intent:"));
  assert.equal(intents.length, 1);
  assert.match(intents[0][0], /^intent:[0-9a-f]{16}$/);
  await page.reload();
  await page.unroute("**/api/tickets");
  const sent = page.waitForRequest((request) => request.method() === "POST");
  await page.getByRole("button", { name: "List ticket" }).click();
  assert.equal((await sent).headers()["idempotency-key"], keys[0]);
  await says(page.locator(".price"), "$21", 5_000);
  assert.deepEqual(await keptNames(page), ["owner"], "the response removes the key and the draft");
});

test("sign-out removes drafts and keys", async (t) => {
  const page = await env.openPage(t, { expected: [/net::ERR_FAILED/] });
  const email = await signUp(page);
  await typeTicket(page, "Abandoned Show", "22");
  await abortResponses(page, "POST", "/api/tickets");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".notice"), "GitTix did not answer", GIVES_UP_MS);
  assert.deepEqual((await keptNames(page)).map((name) => name.split(":")[0]).sort(), [
    "draft",
    "intent",
    "owner",
  ]);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in" }).waitFor();
  assert.deepEqual(await keptNames(page), []);
  await page.getByRole("link", { name: "Sign in" }).click();
  await signIn(page, email);
  await page.getByRole("link", { name: "Sell tickets" }).click();
  assert.equal(await page.getByLabel("Title").inputValue(), "");
});

test("sign-out in another tab removes drafts", async (t) => {
  const page = await env.openPage(t);
  const email = await signUp(page);
  await typeTicket(page, "Left Open", "23");
  const tab = await openOtherTab(page);
  await tab.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.deepEqual(await keptNames(page), []);
  await signIn(page, email);
  await page.getByRole("heading", { name: "Create a ticket" }).waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "");
});

test("draft is removed from web storage when the session ends and restored when the same user signs in again", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(401)] });
  const email = await signUp(page);
  await typeTicket(page, "Expired Show", "24");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".narrow"), "What you typed is saved", 5_000);
  assert.deepEqual(await keptNames(page), []);
  await signIn(page, email);
  await page.getByRole("heading", { name: "Create a ticket" }).waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "Expired Show");
});

test("draft of an ended session is not shown to the next user who signs in", async (t) => {
  const bob = await env.account("bob");
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(401)] });
  await typeTicket(page, "Not Bob's", "25");
  await page.context().clearCookies();
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await signIn(page, bob.email);
  await page.getByRole("heading", { name: "Create a ticket" }).waitFor();
  assert.equal(await page.getByLabel("Title").inputValue(), "");
  assert.deepEqual(await keptNames(page), ["owner"]);
});

/** Scripts that break web storage, run in the page before its own scripts. */
const BROKEN = {
  null: () => Object.defineProperty(globalThis, "sessionStorage", { get: () => null }),
  forbidden: () =>
    Object.defineProperty(globalThis, "sessionStorage", {
      get: () => {
        throw new DOMException("denied", "SecurityError");
      },
    }),
  full: () => {
    Storage.prototype.setItem = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  },
};

for (const [name, broken] of Object.entries(BROKEN)) {
  test(`ticket is listed, changed and bought while web storage is ${name}`, async (t) => {
    const seller = await env.account("seller");
    const ticket = await seller.list(`Storage ${name}`, 20);
    const page = await env.openPage(t);
    await page.addInitScript(broken);
    await signUp(page);
    await typeTicket(page, `Listed without storage, ${name}`, "26");
    await page.getByRole("button", { name: "List ticket" }).click();
    await says(page.locator(".price"), "$26", 5_000);
    await page.getByLabel("Price").fill("27");
    await page.getByRole("button", { name: "Save changes" }).click();
    await says(page.locator(".price"), "$27", 5_000);
    await page.goto(`/tickets/${ticket.id}`);
    await page.getByRole("button", { name: "Buy" }).click();
    await page.locator(".hold-figures").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    await says(row(page, `Listed without storage, ${name}`), "$27", 5_000);
  });
}

for (const [name, broken] of Object.entries(BROKEN)) {
  test(`second click after lost responses lists the ticket once while web storage is ${name}`, async (t) => {
    const page = await env.openPage(t, { expected: [/net::ERR_FAILED/] });
    await page.addInitScript(broken);
    await signUp(page);
    await typeTicket(page, `Listed once, ${name}`, "28");
    const keys = [];
    await page.route("**/api/tickets", async (route) => {
      if (route.request().method() !== "POST") return route.fallback();
      keys.push(route.request().headers()["idempotency-key"]);
      await route.fetch(); // the server lists the ticket, and the response is lost
      return route.abort();
    });
    await page.getByRole("button", { name: "List ticket" }).click();
    await says(page.locator(".notice"), "GitTix did not answer", GIVES_UP_MS);
    await page.unroute("**/api/tickets");
    const sent = page.waitForRequest((request) => request.method() === "POST");
    await page.getByRole("button", { name: "List ticket" }).click();
    keys.push((await sent).headers()["idempotency-key"]);
    await says(page.locator(".price"), "$28", 5_000);
    assert.equal(new Set(keys).size, 1);
    const listed = await page.evaluate(() =>
      fetch("/api/tickets?seller=me").then((answer) => answer.json()),
    );
    assert.equal(listed.length, 1);
  });
}

// The first visit: the server's rendering, its replacement by the script, and the messages when the script or its first request
// fails.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, DESKTOP, PHONE, row, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const NETWORK = [/net::ERR_/];
const REQUESTS_MAX = 12;
const SCRIPT = "**/assets/*/app.js";

/** Opens a page in a browser without JavaScript. */
async function withoutScript(t, size = DESKTOP) {
  const context = await env.browser.newContext({
    baseURL: env.server.origin,
    javaScriptEnabled: false,
    viewport: size,
  });
  t.after(() => context.close());
  return context.newPage();
}

/** Holds back the script until the returned function is called. */
async function holdScript(page) {
  let release;
  const released = new Promise((resume) => {
    release = resume;
  });
  await page.route(SCRIPT, async (route) => {
    await released;
    await route.continue();
  });
  return release;
}

function shown(page) {
  return page.locator("html[data-app=shown]").waitFor({ state: "attached" });
}

test("first visit of a list or a ticket takes at most 12 requests", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Few Requests", 20);
  for (const path of ["/", `/tickets/${ticket.id}`]) {
    const page = await env.openPage(t);
    const requests = [];
    page.on("request", (request) => requests.push(request.url()));
    await page.goto(path);
    await connected(page);
    await page.getByRole("link", { name: "Sign in" }).first().waitFor();
    assert.ok(requests.length <= REQUESTS_MAX, `${requests.length}: ${requests.join(" ")}`);
  }
});

test("first visit of an order or the list of orders takes at most 12 requests without a layout shift", async (t) => {
  const seller = await env.account("seller");
  const buyer = await env.account("buyer");
  const order = await buyer.lock(await seller.list("Few Private Requests", 20));
  for (const path of ["/orders", `/orders/${order.id}`]) {
    const page = await env.openPage(t, { size: PHONE });
    await page.context().setExtraHTTPHeaders({ Cookie: buyer.cookie });
    const requests = [];
    page.on("request", (request) => requests.push(request.url()));
    await page.addInitScript(() => {
      globalThis.shift = 0;
      const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) globalThis.shift += /** @type {any} */ (entry).value;
      });
      observer.observe({ type: "layout-shift", buffered: true });
    });
    await page.goto(path);
    await connected(page);
    await page
      .getByText(/Few Private Requests/)
      .first()
      .waitFor();
    await page.waitForLoadState("networkidle");
    assert.ok(requests.length <= REQUESTS_MAX, `${requests.length}: ${requests.join(" ")}`);
    assert.ok((await page.evaluate(() => globalThis.shift)) <= 0.01);
  }
});

test("list without JavaScript has tickets, prices, search and further pages", async (t) => {
  const seller = await env.account("seller");
  await seller.listMany(
    60,
    (index) => `Scriptless ${index}`,
    (index) => 100 + index,
  );
  const page = await withoutScript(t);
  await page.goto("/");
  await page.getByLabel("Search tickets").fill("scriptless");
  await page.getByLabel("Sort by").selectOption("Lowest price first");
  await page.getByRole("button", { name: "Search" }).click();
  assert.equal(new URL(page.url()).search, "?q=scriptless&sort=price");
  assert.equal(await page.locator(".row").count(), 50);
  assert.match(await row(page, "Scriptless 0").first().textContent(), /Available\$100/);
  await page.getByRole("link", { name: "Show more tickets" }).click();
  assert.equal(await page.locator(".row").count(), 10);
  assert.match(await page.locator(".row").last().textContent(), /Scriptless 59.*\$159/);
  await page.getByRole("link", { name: "Scriptless 59" }).click();
  assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "Scriptless 59");
  assert.equal(await page.locator(".price").textContent(), "$159");
  assert.equal(await page.locator(".late").isVisible(), false);
  assert.equal(await page.getByRole("button", { name: "Buy" }).count(), 0);
  assert.match(await page.getByRole("main").textContent(), /turn on JavaScript/);
});

test("unknown address returns status 404 with a readable page", async (t) => {
  const page = await withoutScript(t);
  for (const path of ["/nowhere", "/tickets/00000000-0000-7000-8000-000000000000"]) {
    const answer = await page.goto(path);
    assert.equal(answer.status(), 404, path);
    await page.getByRole("heading", { name: "Page not found" }).waitFor();
  }
});

for (const [name, size] of [
  ["a phone", PHONE],
  ["a desktop", DESKTOP],
]) {
  test(`script replaces the server's rendering without a layout shift, on ${name}`, async (t) => {
    const seller = await env.account("seller");
    await seller.list("Takeover 2 with a title that is long enough to break into lines", 1234.5);
    const ticket = await seller.list("Takeover 1", 20);
    for (const path of [`/?q=takeover`, `/tickets/${ticket.id}`]) {
      const before = await withoutScript(t, size);
      await before.goto(path);
      const page = await env.openPage(t, { size });
      await page.addInitScript(observeShifts);
      const release = await holdScript(page);
      await page.goto(path, { waitUntil: "commit" });
      await page.locator("h1").waitFor();
      assert.deepEqual(await placesOf(page), await placesOf(before), `${path}, script held back`);
      release();
      await shown(page);
      assert.deepEqual(await placesOf(page), await placesOf(before), path);
      assert.equal(await page.evaluate(() => globalThis.shifts), 0, path);
    }
  });
}

function observeShifts() {
  globalThis.shifts = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) globalThis.shifts += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}

/** Returns text, style and position of the elements that the server and the script both render. */
function placesOf(page) {
  return page
    .locator(
      "h1, .search-input, .search-order, .row-title, .row-price, .status, .stub, .pass, .price",
    )
    .evaluateAll((elements) =>
      elements.map((element) => {
        const { x, y, width, height } = element.getBoundingClientRect();
        const text = element.children.length > 0 ? "" : element.textContent;
        return [element.className, text, ...[x, y, width, height].map(Math.round)].join(" ");
      }),
    );
}

test("typed text and focus from before the start of the script are kept", async (t) => {
  const page = await env.openPage(t);
  const release = await holdScript(page);
  await page.goto("/", { waitUntil: "commit" });
  await page.getByLabel("Search tickets").fill("typed early");
  await page.getByLabel("Sort by").selectOption("Lowest price first");
  await page.getByLabel("Search tickets").focus();
  release();
  await shown(page);
  assert.equal(await page.getByLabel("Search tickets").inputValue(), "typed early");
  assert.equal(await page.getByLabel("Sort by").inputValue(), "price");
  assert.equal(await page.evaluate(() => document.activeElement.id), "q");
});

test("first page sends no request for its tickets before the connection is open", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Served With The Page", 20);
  const page = await env.openPage(t);
  await page.routeWebSocket("**/ws*", () => {});
  const asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.goto("/?q=served");
  await shown(page);
  await says(row(page, "Served With The Page"), "$20");
  assert.equal(asked.includes("/api/tickets"), false);
});

const BROKEN = [
  ["is not loaded", (route) => route.abort()],
  ["is answered with 503", (route) => route.fulfill({ status: 503, body: "" })],
  ["is truncated", (route) => route.fulfill(script("const begin = () => {"))],
  ["fails at its start", (route) => route.fulfill(script("throw new Error('of another version')"))],
  ["imports a missing module", (route) => route.fulfill(script('import { x } from "./none.js"'))],
];

function script(body) {
  return { contentType: "text/javascript", body };
}

for (const [what, answer] of BROKEN) {
  test(`page whose script ${what} shows an error and a link to load it again`, async (t) => {
    const seller = await env.account("seller");
    await seller.list("Still Readable", 20);
    const page = await env.openPage(t, { expected: [...NETWORK, /503|404|thrown/] });
    let broken = true;
    await page.route(SCRIPT, (route) => (broken ? answer(route) : route.continue()));
    for (const path of ["/", "/signin"]) {
      broken = true;
      await page.goto(path);
      const line = page.locator(".late");
      await line.waitFor({ state: "visible" });
      assert.match(await line.textContent(), /could not be loaded completely/);
      if (path === "/") assert.equal(await row(page, "Still Readable").first().isVisible(), true);
      broken = false;
      await line.getByRole("link", { name: "Try again" }).click();
      await shown(page);
      assert.equal(await line.isVisible(), false);
    }
  });
}

test("page without any loaded script shows an error after some seconds", async (t) => {
  const page = await env.openPage(t, { expected: NETWORK });
  await page.route("**/assets/*/*.js", (route) => route.abort());
  await page.goto("/signin");
  const line = page.locator(".late");
  assert.equal(await line.isVisible(), false);
  const delay = await line.evaluate((element) => {
    const [animation] = element.getAnimations();
    const { delay } = animation.effect.getComputedTiming();
    animation.finish(); // skips the waiting time
    return delay;
  });
  assert.ok(delay >= 5_000 && delay <= 10_000, `${delay} ms`);
  await line.waitFor({ state: "visible" });
});

test("private page without an answer about the session shows an error, and loads when the answer arrives", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: NETWORK });
  await page.routeWebSocket("**/ws*", () => {});
  let broken = true;
  await page.route("**/api/users/currentuser", (route) =>
    broken ? route.abort() : route.continue(),
  );
  await page.goto("/orders");
  await page.getByRole("button", { name: "Try again" }).waitFor();
  await page.getByRole("heading", { name: "This page could not be loaded" }).waitFor();
  broken = false;
  await page.getByText("You have no open orders.").waitFor();
});

test("retry button loads a private page that had no answer about the session", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: NETWORK });
  await page.routeWebSocket("**/ws*", () => {});
  let broken = true;
  await page.route("**/api/users/currentuser", (route) =>
    broken ? route.abort() : route.continue(),
  );
  await page.goto("/signin");
  const button = page.getByRole("button", { name: "Try again" });
  await button.waitFor();
  const loaded = page.waitForEvent("load");
  await button.click();
  broken = false;
  await loaded;
  await page.getByRole("heading", { name: "Tickets for sale", exact: true }).waitFor();
});

test("list is shown before the answer about the session, and the header is updated after it", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Header Follows", 20);
  const page = await env.openPage(t, { expected: NETWORK });
  let asked = 0;
  await page.route("**/api/users/currentuser", (route) => {
    asked += 1;
    return asked <= 2 ? route.abort() : route.continue();
  });
  await page.goto("/?q=header");
  await says(row(page, "Header Follows"), "$20");
  await page.getByRole("navigation").getByRole("link", { name: "Sign in" }).waitFor();
  assert.ok(asked > 2);
});

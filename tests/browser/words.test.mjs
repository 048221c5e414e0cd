// Number formats and input of readers in other regions, the length of titles, and texts that stay correct while time passes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { titleLength } from "../../web/words/title.js";
import {
  connected,
  PHONE,
  refusal,
  row,
  SMALLEST,
  says,
  testEnvironment,
  withoutServed,
} from "./support/environment.mjs";

const env = testEnvironment({});
const DAY_MS = 24 * 3600 * 1000;

/** Changes the server's response for one path. */
async function change(page, path, edit) {
  await withoutServed(page);
  await page.route(`**${path}`, async (route) => {
    if (route.request().method() !== "GET") return route.fallback();
    try {
      const response = await route.fetch();
      if (response.status() !== 200) return await route.fulfill({ response });
      await route.fulfill({ response, json: edit(await response.json()) });
    } catch (error) {
      if (!page.isClosed()) throw error; // otherwise the test has ended
    }
  });
}

/** Returns all visible lines of text of a page. */
function textsOf(page) {
  // biome-ignore lint/performance/useDomNodeTextContent: what is not shown is no text for a user
  return page.evaluate(() => document.body.innerText.split("\n").filter((line) => line.trim()));
}

for (const locale of ["de-DE", "ja-JP", "ar-EG", "fa-IR"]) {
  test(`no sentence mixes languages for a reader in ${locale}`, async (t) => {
    const seller = await env.account("seller");
    const ticket = await seller.list(`Language ${locale}`, 1234.5);
    const past = await seller.list(`Language past ${locale}`, 20);
    const page = await env.openPage(t, { signedIn: true, locale });
    const lines = [];
    const read = async () => lines.push(...(await textsOf(page)));
    const minutesAgo = new Date(Date.now() - 5 * 60_000).toISOString();
    await change(page, `/api/tickets/${ticket.id}`, (data) => ({ ...data, createdAt: minutesAgo }));
    await page.goto("/");
    await says(row(page, ticket.title), "$1,234.50", 5_000);
    await read();
    await page.goto(`/tickets/${ticket.id}`);
    await says(page.locator(".pass"), "Listed 5 minutes ago", 5_000);
    await read();
    await page.getByRole("button", { name: "Buy" }).click();
    await page.locator(".hold-figures").waitFor();
    await says(page.locator(".hold"), /Pay by \d/);
    await read();
    await page.goto(`/tickets/${past.id}`);
    await page.getByRole("button", { name: "Buy" }).click();
    await page.getByRole("button", { name: "Pay $20" }).click();
    await says(page.locator(".outcome"), "You paid $20", 5_000);
    const old = new Date(Date.now() - 30 * DAY_MS).toISOString();
    await change(page, "/api/orders?status=all", (orders) =>
      orders.map((order) => ({ ...order, updatedAt: old })),
    );
    await page.goto("/orders");
    await page.locator(".row").nth(1).waitFor();
    await read();
    await page.goto("/tickets/new");
    await page.getByLabel("Price in USD").waitFor();
    await read();
    for (const line of lines) assert.match(line, /^[\p{ASCII}\p{Zs}·“”…]*$/u);
    assert.equal(await page.evaluate(() => document.documentElement.lang), "en");
  });
}

for (const [locale, typed, shown] of [
  ["en-US", "999,999.99", "$999,999.99"],
  ["en-US", "$20", "$20"],
  ["de-DE", "1.234,56", "$1,234.56"],
  ["de-DE", "1.234", "$1,234"],
  ["ar-EG", "٢٠", "$20"],
  ["fa-IR", "۱٬۲۳۴٫۵۰", "$1,234.50"],
]) {
  test(`price ${typed} is accepted from a reader in ${locale}`, async (t) => {
    const page = await env.openPage(t, { signedIn: true, locale });
    await page.goto("/tickets/new");
    await page.getByLabel("Title").fill("Priced Show");
    await page.getByLabel("Price").fill(typed);
    await page.getByRole("button", { name: "List ticket" }).click();
    await page.locator(".editor").waitFor();
    assert.equal(await page.locator(".price").textContent(), shown);
  });
}

test("price with two meanings is not sent, and the message shows both in the reader's format", async (t) => {
  const page = await env.openPage(t, { signedIn: true, locale: "de-DE" });
  let sent = 0;
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/api/tickets")) sent += 1;
  });
  await page.goto("/tickets/new");
  assert.match(
    await page.locator("[id^=field-price][id$=-hint]").textContent(),
    /0,50 to 999\.999,99/,
  );
  await page.getByLabel("Title").fill("Ambiguous Show");
  await page.getByLabel("Price").fill("1,234");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".field-error"), "“1,234” has two meanings. Enter 1.234,00 or 1,23.");
  assert.equal(await page.evaluate(() => document.activeElement.name), "price");
  assert.equal(sent, 0);
  await page.getByLabel("Price").fill("twenty");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".field-error"), "Enter an amount from 0,50 to 999.999,99");
  assert.equal(sent, 0);
  await page.getByLabel("Price").fill("1.234,00");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".price"), "$1,234", 5_000);
});

test("price in the editor has the reader's number format and is saved unchanged", async (t) => {
  const page = await env.openPage(t, { signedIn: true, locale: "de-DE" });
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Reedited Show");
  await page.getByLabel("Price").fill("1234,5");
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.locator(".editor").waitFor();
  assert.equal(await page.getByLabel("Price").inputValue(), "1234,50");
  await page.getByLabel("Title").fill("Reedited Once");
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(page.locator(".notice"), "Your changes are saved", 5_000);
  assert.equal(await page.locator(".price").textContent(), "$1,234.50");
});

test("title length in the page equals the server's count", async () => {
  const seller = await env.account("seller");
  const status = async (title) => {
    const answer = await seller
      .ask("POST", "/api/tickets", { title, price: 20 })
      .catch((error) => error);
    return answer instanceof Error ? Number(/: (\d{3}) /.exec(answer.message)[1]) : 201;
  };
  for (const unit of ["a", "🎸", "e\u0301", "👩‍👩‍👧", "\u1100\u1161", "ﬁ", "가"]) {
    const each = titleLength(`x${unit}`) - 1;
    const fits = unit.repeat(Math.floor(200 / each));
    for (const title of [`\u0085 ${fits}\u3000`, `${fits}${"a".repeat(200 - titleLength(fits))}`]) {
      assert.ok(titleLength(title) <= 200);
      assert.equal(await status(title), 201, title);
      const long = `${title.trimEnd()}${"a".repeat(201 - titleLength(title))}`;
      assert.equal(titleLength(long), 201);
      assert.equal(await status(long), 400, long);
    }
  }
});

test("pasted title is not truncated, and the remaining or excess characters are shown and announced", async (t) => {
  const page = await env.openPage(t, { signedIn: true, expected: [refusal(400)] });
  await page.goto("/tickets/new");
  const title = page.getByLabel("Title");
  const counter = page.locator("[id$=-counter]");
  const emoji = "🎸".repeat(150);
  await title.fill(emoji);
  assert.equal(await title.inputValue(), emoji);
  assert.equal(await counter.textContent(), "");
  await title.fill("🎸".repeat(197));
  assert.equal(await counter.textContent(), "3 characters left");
  await says(page.locator("#announcer"), "3 characters left");
  await title.fill("🎸".repeat(201));
  assert.equal(await title.inputValue(), "🎸".repeat(201));
  assert.equal(await counter.textContent(), "The title is 1 character too long.");
  await says(page.locator("#announcer"), "The title is 1 character too long.");
  assert.equal(await title.getAttribute("aria-invalid"), "true");
  assert.match(await title.getAttribute("aria-describedby"), /-counter$/);
  await page.getByLabel("Price").fill("20");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".field-error"), "Enter a title of 1 to 200 characters", 5_000);
  await title.fill(emoji);
  assert.equal(await title.getAttribute("aria-invalid"), null);
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.locator(".editor").waitFor();
  assert.equal(await page.locator("h1").textContent(), emoji);
});

test("lock past its deadline is shown as ended on the list and on the ticket before its release", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("Ended Lock", 20);
  await rival.lock(ticket);
  const page = await env.openPage(t);
  await page.routeWebSocket("**/ws*", (socket) => {
    const server = socket.connectToServer();
    server.onMessage((text) => JSON.parse(text).type === "Hello" && socket.send(text));
  });
  const ended = (data) =>
    data.id === ticket.id
      ? { ...data, unlocksAt: new Date(Date.now() - 1000).toISOString() }
      : data;
  await change(page, `/api/tickets/${ticket.id}`, ended);
  await change(page, "/api/tickets?*", (tickets) => tickets.map(ended));
  await page.goto("/");
  await says(row(page, "Ended Lock"), "Available soon", 5_000);
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  await says(page.locator(".buy"), "The reservation has ended", 5_000);
  assert.doesNotMatch(await page.locator(".buy").textContent(), /is paying/);
});

test("order past its payment deadline is shown as ended on its page and in the list", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Ended Order", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await says(page.locator(".hold"), "Reserved for you. Time left to pay:");
  const id = new URL(page.url()).pathname.split("/").at(-1);
  const expiresAt = new Date(Date.now() - 1000).toISOString();
  const ended = (order) => ({ ...order, expiresAt });
  await change(page, `/api/orders/${id}`, ended);
  await change(page, "/api/orders?status=all", (orders) => orders.map(ended));
  await change(page, "/api/orders", (orders) => orders.map(ended));
  await page.reload();
  await says(page.locator(".hold"), "The time to pay has ended.", 5_000);
  await page.goto("/orders");
  await says(row(page, "Ended Order"), "Time to pay has ended", 5_000);
});

test("right-to-left title has the right direction and no declared language", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("حفلة موسيقية 2026", 20);
  const page = await env.openPage(t, { signedIn: true });
  const laidOut = (locator) =>
    locator.evaluate((one) => [getComputedStyle(one).direction, one.getAttribute("lang")]);
  await page.goto("/");
  await row(page, ticket.title).waitFor();
  assert.deepEqual(await laidOut(row(page, ticket.title).locator(".row-title")), ["rtl", ""]);
  await page.goto(`/tickets/${ticket.id}`);
  assert.deepEqual(await laidOut(page.locator("h1", { hasText: ticket.title })), ["rtl", ""]);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  assert.deepEqual(await laidOut(page.locator("h1", { hasText: ticket.title })), ["rtl", ""]);
  await page.goto("/orders");
  assert.deepEqual(await laidOut(row(page, ticket.title).locator(".row-title")), ["rtl", ""]);
  assert.equal(await page.evaluate(() => getComputedStyle(document.body).direction), "ltr");
});

test("date of an order of a past year includes the year", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Last Year", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.getByRole("button", { name: "Pay $20" }).click();
  await says(page.locator(".outcome"), "It's yours", 5_000);
  await change(page, "/api/orders?status=all", (orders) =>
    orders.map((order) => ({ ...order, updatedAt: "2020-02-03T12:00:00.000Z" })),
  );
  await page.goto("/orders");
  await says(row(page, "Last Year"), "Feb 3, 2020", 5_000);
});

test("button that shows the password hides it again and updates its label", async (t) => {
  const page = await env.openPage(t);
  await page.goto("/signin");
  const input = page.getByLabel("Password", { exact: true });
  await page.getByRole("button", { name: "Show password" }).click();
  assert.equal(await input.getAttribute("type"), "text");
  const hide = page.getByRole("button", { name: "Hide password" });
  assert.equal(await hide.textContent(), "Hide");
  await hide.click();
  assert.equal(await input.getAttribute("type"), "password");
  await page.getByRole("button", { name: "Show password" }).waitFor();
});

test("Escape closes a question without the action and returns the focus", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Escaped", 20);
  const page = await env.openPage(t, { signedIn: true });
  const changes = [];
  page.on("request", (request) => request.method() === "DELETE" && changes.push(request.url()));
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.getByRole("button", { name: "Cancel this order" }).click();
  assert.equal(await focused(), "Cancel order");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "Cancel this order");
  assert.equal(await page.getByRole("button", { name: "Keep order" }).count(), 0);
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Kept On Sale");
  await page.getByLabel("Price").fill("20");
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.getByRole("button", { name: "Take off sale" }).click();
  assert.equal(await focused(), "Take ticket off sale");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "Take off sale");
  await page.getByRole("button", { name: "Take off sale" }).click();
  const title = page.getByLabel("Title");
  await title.focus(); // the question closes at any focus, and the focus stays
  await page.keyboard.press("Escape");
  assert.equal(await page.getByRole("button", { name: "Take ticket off sale" }).count(), 0);
  assert.equal(await title.evaluate((field) => field === document.activeElement), true);
  assert.deepEqual(changes, []);
});

test("header links to the account and marks the section of every page", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Marked", 20);
  for (const size of [PHONE, SMALLEST]) {
    const page = await env.openPage(t, { signedIn: true, size });
    const nav = page.getByRole("navigation", { name: "Main" });
    const marked = () => nav.locator("[aria-current]").allTextContents();
    for (const [path, heading, mark] of [
      ["/tickets/new", "Create a ticket", ["Sell tickets"]],
      ["/listings", "My listings", ["Sell tickets"]],
      ["/orders", "My orders", ["My orders"]],
      ["/account", "Account", ["Account"]],
      ["/", "Tickets for sale", []],
    ]) {
      await page.goto(path);
      await page.getByRole("heading", { name: heading, level: 1 }).waitFor();
      assert.deepEqual(await marked(), mark, path);
    }
    await nav.getByRole("link", { name: "Account" }).click();
    await page.getByRole("heading", { name: "Account", level: 1 }).waitFor();
    const [wide, window] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      innerWidth,
    ]);
    assert.ok(wide <= window, `${wide} px in ${window}`);
    if (size === PHONE) {
      await page.goto(`/tickets/${ticket.id}`);
      await page.getByRole("button", { name: "Buy" }).click();
      await page.locator(".hold-figures").waitFor();
      assert.deepEqual(await marked(), ["My orders"]);
    }
  }
});

test("page of a sold ticket has no form for its seller", async (t) => {
  const rival = await env.account("rival");
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Sold Under The Form");
  await page.getByLabel("Price").fill("20");
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.locator(".editor").waitFor();
  await connected(page);
  await page.getByRole("button", { name: "Take off sale" }).click();
  const id = new URL(page.url()).pathname.split("/").at(-1);
  await rival.pay(await rival.lock({ id }));
  await says(page.locator(".editor"), "Sold for $20.");
  assert.equal(await page.getByLabel("Title").isVisible(), false);
  assert.equal(await page.locator(".editor button:visible").count(), 0);
});

test("page without a response to Buy says that the ticket is not reserved, and later creates one order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Slow Server", 20);
  const page = await env.openPage(t, { signedIn: true, expected: [/net::ERR_/] });
  let answer;
  await page.route("**/api/orders", async (route) => {
    if (route.request().method() !== "POST") return route.fallback();
    await new Promise((resolve) => {
      answer = resolve;
    });
    return route.continue();
  });
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.getByRole("button", { name: "Reserving your ticket…" }).waitFor();
  await says(page.locator(".buy .notice"), "The ticket is not reserved for you yet", 10_000);
  answer();
  await page.locator(".hold-figures").waitFor();
});

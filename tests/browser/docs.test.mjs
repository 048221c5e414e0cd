// The API reader at /docs: requests can be sent from it, error codes are explained under their anchors, and it is accessible.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import { findings } from "./support/axe.mjs";
import { DESKTOP, PHONE, refusal, SMALLEST, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const BUNDLE = /\/docs\/swagger-ui-bundle\.js/;

/** Opens an operation in the reader and returns it. */
async function openOperation(page, id) {
  const operation = page.locator(`[id^=operations-][id$="-${id}"]`);
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Try it out" }).click();
  return operation;
}

/** Sends the request. Returns status and body. */
async function execute(operation) {
  await operation.getByRole("button", { name: "Execute" }).click();
  const answer = operation.locator(".live-responses-table .response").first();
  await answer.waitFor();
  return {
    status: Number((await answer.locator(".response-col_status").textContent()).match(/\d+/)[0]),
    body: JSON.parse(await answer.locator(".highlight-code code").first().textContent()),
  };
}

async function show(page) {
  await page.goto("/docs");
  await page.locator("#reader").scrollIntoViewIfNeeded();
  await page.locator(".opblock").first().waitFor();
}

/** Collects the addresses that the page requests from now on. */
function collectRequests(page) {
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  return { ofBundle: () => addresses.filter((url) => BUNDLE.test(url)).length };
}

/** Collects all layout shifts of the page, including those after input. */
function watchShifts(page) {
  return page.addInitScript(() => {
    window.shifts = [];
    new PerformanceObserver((list) => {
      for (const { value, sources } of list.getEntries())
        window.shifts.push([value, ...sources.map(({ node }) => node?.id || node?.nodeName)]);
    }).observe({ type: "layout-shift", buffered: true });
  });
}

/** Returns the vertical positions of the sections, frames and error codes. */
function places(page) {
  return page.evaluate(() =>
    [...document.querySelectorAll("main > section, section > article")].map((element) => [
      element.id,
      Math.round(element.getBoundingClientRect().top + scrollY),
    ]),
  );
}

test("request sent from the reader is answered by this server", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Reader Concert", 20);
  const page = await env.openPage(t);
  await show(page);
  const operation = await openOperation(page, "listTickets");
  await operation.getByPlaceholder("q", { exact: true }).fill("reader concert");
  const { status, body } = await execute(operation);
  assert.deepEqual([status, body.map(({ id }) => id)], [200, [ticket.id]]);
});

test("user who signs up in the reader is signed in and can list a ticket there", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(401)] });
  await show(page);
  const create = await openOperation(page, "createTicket");
  await create
    .getByLabel("Request body")
    .fill(JSON.stringify({ title: "From the docs", price: 20 }));
  const refused = await execute(create);
  assert.deepEqual([refused.status, refused.body.code], [401, "not_signed_in"]);
  const signUp = await openOperation(page, "signUp");
  const email = newEmail("reader");
  await signUp.getByLabel("Request body").fill(JSON.stringify({ email, password: PASSWORD }));
  const user = await execute(signUp);
  assert.deepEqual([user.status, user.body.email], [201, email]);
  await create.getByRole("button", { name: "Clear" }).click();
  const listed = await execute(create);
  assert.deepEqual([listed.status, listed.body.userId], [201, user.body.id]);
  await page.goto(`/tickets/${listed.body.id}`);
  await page.getByRole("heading", { name: "From the docs" }).waitFor();
});

test("link to an error code shows its explanation without loading Swagger UI", async (t) => {
  const page = await env.openPage(t, { size: PHONE });
  const requests = collectRequests(page);
  const answer = await page.request.get("/api/tickets/none");
  const { type, code } = await answer.json();
  assert.equal(type, "/docs#not_found");
  await page.goto(type);
  const explanation = page.locator(`[id="${code}"]`);
  await page.waitForFunction((id) => {
    const { top, bottom } = document.getElementById(id).getBoundingClientRect();
    return top > -1 && bottom <= innerHeight;
  }, code);
  assert.match(await explanation.textContent(), /not_found 404/);
  await page.waitForLoadState("networkidle");
  assert.equal(requests.ofBundle(), 0);
  await page.getByRole("link", { name: "REST", exact: true }).click();
  await page.getByRole("link", { name: "GET /api/tickets", exact: true }).waitFor();
  await page.getByRole("link", { name: "Try requests" }).click();
  await page.locator(".opblock").first().waitFor();
});

for (const size of [DESKTOP, PHONE]) {
  test(`Swagger UI is loaded only near its section and shifts no layout, ${size.width} px wide`, async (t) => {
    const page = await env.openPage(t, { size });
    const requests = collectRequests(page);
    await watchShifts(page);
    await page.goto("/docs");
    await page.waitForLoadState("networkidle");
    const before = await places(page);
    const scrollTo = (windows) =>
      page.evaluate((windows) => {
        const { top } = document.getElementById("reader").getBoundingClientRect();
        scrollBy(0, top - windows * innerHeight);
      }, windows);
    await scrollTo(2.5);
    await page.waitForTimeout(500);
    assert.equal(requests.ofBundle(), 0, "the section is one and a half windows away");
    await scrollTo(1.5);
    await page.locator(".opblock").first().waitFor();
    assert.equal(requests.ofBundle(), 1);
    assert.deepEqual(await places(page), before);
    assert.deepEqual(await page.evaluate(() => window.shifts), []);
  });
}

test("link in the index loads Swagger UI, opens the operation and scrolls to it", async (t) => {
  const page = await env.openPage(t);
  const requests = collectRequests(page);
  await watchShifts(page);
  await page.goto("/docs");
  await page.waitForLoadState("networkidle");
  assert.equal(requests.ofBundle(), 0);
  const before = await places(page);
  const link = page.getByRole("link", { name: "POST /api/tickets", exact: true });
  const isShown = async (id) => {
    await page.locator(`#operations-tickets-${id}.is-open`).waitFor();
    await page.waitForFunction((id) => {
      const operation = document.getElementById(`operations-tickets-${id}`);
      const { top } = operation.getBoundingClientRect();
      return top > -1 && top < innerHeight / 2 && operation.contains(document.activeElement);
    }, id);
    assert.equal(new URL(page.url()).hash, `#/tickets/${id}`);
  };
  await link.click();
  await isShown("createTicket");
  assert.equal(requests.ofBundle(), 1);
  assert.deepEqual(await places(page), before);

  await page.locator("#operations-tickets-createTicket .opblock-summary-control").click();
  await page.locator("#operations-tickets-createTicket:not(.is-open)").waitFor();
  await page.locator("#operations-tag-tickets").click();
  await page.locator("#operations-tickets-createTicket").waitFor({ state: "detached" });
  await link.click();
  await isShown("createTicket");

  await page.getByRole("link", { name: "GET /api/tickets", exact: true }).click();
  await isShown("listTickets");
  await page.goBack();
  await isShown("createTicket");
  await page.goBack();
  await page.waitForFunction(() => location.hash === "");

  await page.goto("about:blank");
  await page.goto("/docs#/tickets/listTickets");
  await isShown("listTickets");
});

test("reader without JavaScript lists the operations and explains the WebSocket and every error code", async (t) => {
  const context = await env.browser.newContext({
    baseURL: env.server.origin,
    javaScriptEnabled: false,
  });
  t.after(() => context.close());
  const page = await context.newPage();
  await page.goto("/docs#ticket_locked");
  await page.locator('[id="ticket_locked"]').getByText("409").waitFor();
  await page.locator("#message-TicketUpdated").getByText("ticket", { exact: true }).waitFor();
  await page.getByRole("heading", { name: "Resuming with ?after=" }).waitFor();
  const operation = page.getByRole("listitem").filter({ hasText: "POST /api/tickets" }).first();
  await operation.getByRole("link").waitFor();
  assert.match(await operation.textContent(), /POST \/api\/tickets\s+\w+/);
});

test("second visit of the reader loads only the document", async (t) => {
  const page = await env.openPage(t);
  await show(page);
  await show(page);
  const loaded = await page.evaluate(() =>
    performance
      .getEntriesByType("resource")
      .map(({ name, transferSize }) => [new URL(name).pathname, transferSize])
      .filter(([path]) => path.startsWith("/docs/")),
  );
  assert.deepEqual(loaded.sort(), [
    ["/docs/reader.js", 0],
    ["/docs/style.css", 0],
    ["/docs/swagger-ui-bundle.js", 0],
    ["/docs/swagger-ui.css", 0],
  ]);
});

for (const scheme of ["light", "dark"]) {
  test(`axe-core reports no violation in the reader, ${scheme}`, async (t) => {
    const page = await env.openPage(t, { scheme });
    await page.goto("/docs");
    assert.deepEqual(await findings(page), [], "Swagger UI is not loaded");
    await show(page);
    assert.deepEqual(await findings(page), [], "closed");
    await openManyOperations(page);
    for (const size of [DESKTOP, SMALLEST]) {
      await page.setViewportSize(size);
      assert.deepEqual(await findings(page), [], `operations opened, ${size.width} px wide`);
    }
  });
}

test("tables of the reader break no word and cut nothing off from 320 to 1280 px", async (t) => {
  const page = await env.openPage(t);
  await show(page);
  await openManyOperations(page);
  for (const width of [1280, 820, 641, 640, 390, 320]) {
    await page.setViewportSize({ width, height: 800 });
    assert.deepEqual(await brokenWords(page), [], `${width} wide`);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} px in ${width}`);
  }
});

/** Opens operations of each kind, one with a response, and schemas. */
async function openManyOperations(page) {
  await execute(await openOperation(page, "listTickets"));
  const update = await openOperation(page, "updateUser");
  await update.getByRole("button", { name: "Cancel" }).click();
  await update.getByRole("tab", { name: "Schema" }).first().click();
  await openOperation(page, "deleteTicket");
  await page.getByRole("button", { name: "Schemas" }).click();
  await page.locator(".models").getByRole("button", { name: "PriceInput" }).click();
}

/** Returns words of tables and lists that are broken (several boxes) or cut off (a box that is too wide). */
function brokenWords(page) {
  return page.evaluate(() => {
    const found = [];
    const range = document.createRange();
    for (const cell of document.querySelectorAll("td, th, dt, dd")) {
      const walker = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
      for (let text = walker.nextNode(); text; text = walker.nextNode()) {
        if (
          text.parentElement.closest("pre, textarea, svg") ||
          !text.parentElement.checkVisibility()
        )
          continue;
        for (const { 0: word, index } of text.data.matchAll(/[A-Za-z0-9_]+/g)) {
          range.setStart(text, index);
          range.setEnd(text, index + word.length);
          const boxes = [...range.getClientRects()];
          const { left, right } = range.getBoundingClientRect();
          if (new Set(boxes.map(({ top }) => Math.round(top))).size > 1) found.push(word);
          if (left < 0 || right > innerWidth) found.push(`${word} (cut off)`);
        }
      }
    }
    return found;
  });
}

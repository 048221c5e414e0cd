// The focus and the announcements for screen readers: after navigation, on the way back, under the header, and at the end of a
// payment or an order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, refusal, row, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const SMALL_PHONE = { width: 390, height: 664 };

/** Returns the element with the focus: its tag, row and text. */
function focused(page) {
  return page.evaluate(() => {
    const { activeElement } = document;
    return {
      tag: activeElement.tagName,
      text: activeElement.textContent.trim(),
      row: activeElement.closest("[data-id]")?.querySelector(".row-title").textContent,
    };
  });
}

/** Collects all announcements from now on. */
async function listen(page) {
  await page.evaluate(() => {
    globalThis.announced = [];
    new MutationObserver(() =>
      globalThis.announced.push(document.getElementById("announcer").textContent),
    ).observe(document.getElementById("announcer"), { childList: true, characterData: true });
  });
  return {
    all: () => page.evaluate(() => globalThis.announced),
    until: (text) =>
      page.waitForFunction((part) => globalThis.announced.some((one) => one.includes(part)), text),
  };
}

/** Returns the page of an order for a new ticket, reached with the Buy button. */
async function openOrder(t, title, options = {}) {
  const seller = await env.account("seller");
  const ticket = await seller.list(title, 20);
  const page = await env.openPage(t, { signedIn: true, ...options });
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  const announced = await listen(page);
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  return { page, ticket, announced };
}

async function pay(page, card) {
  await page.getByLabel(card).check();
  await page.locator(".pay-dock .button-primary").click();
}

/** Whether an element is completely in the window, and not covered by the header or a fixed button. */
function isUncovered(locator) {
  return locator.evaluate((element) => {
    const box = element.getBoundingClientRect();
    const header = document.querySelector(".header").getBoundingClientRect();
    const dock = document.querySelector(".pay-dock")?.getBoundingClientRect();
    const bottom = dock && dock.height > 0 ? dock.top : innerHeight;
    return box.top >= header.bottom && box.bottom <= bottom;
  });
}

test("navigation moves the focus to the heading of each page", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Focus Show", 20);
  const page = await env.openPage(t, { signedIn: true });
  for (const address of ["/orders", "/tickets/new"]) {
    await page.locator(`#nav a[href="${address}"]`).click();
    await page.locator(`.page-${address === "/orders" ? "orders" : "new-ticket"} h1`).waitFor();
    assert.equal((await focused(page)).tag, "H1", address);
  }
  await page.locator('.tabs a[href="/listings"]').click();
  await page.locator(".page-listings h1").waitFor();
  assert.equal((await focused(page)).tag, "H1");
  await page.locator(".brand").click();
  await row(page, "Focus Show").waitFor();
  assert.equal((await focused(page)).tag, "H1");
  await page.locator(".row-link", { hasText: "Focus Show" }).click();
  await page.locator(".pass h1").waitFor();
  assert.deepEqual(await focused(page), { tag: "H1", text: "Focus Show", row: undefined });
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  assert.deepEqual(await focused(page), { tag: "H1", text: "Focus Show", row: undefined });
});

test("page with late data gets the focus on its heading unless the user has moved the focus", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  let answer;
  await page.route("**/api/orders?*", async (route) => {
    await new Promise((done) => (answer = done));
    await route.continue();
  });
  const asked = () => page.waitForRequest("**/api/orders?*");
  let request = asked();
  await page.locator('#nav a[href="/orders"]').click();
  await request;
  answer();
  await page.locator(".page-orders h1").waitFor();
  assert.equal((await focused(page)).tag, "H1");

  await page.locator(".brand").click();
  await page.locator(".page-for-sale h1").waitFor();
  request = asked();
  await page.locator('#nav a[href="/orders"]').click();
  await request;
  await page.locator('#nav a[href="/tickets/new"]').focus();
  answer();
  await page.locator(".page-orders h1").waitFor();
  assert.equal(
    (await focused(page)).text,
    await page.locator('#nav a[href="/tickets/new"]').textContent(),
  );
});

test("page that fails to load gets the focus on its heading", async (t) => {
  const page = await env.openPage(t, { expected: [refusal(404)] });
  await page.goto("/");
  await page.locator(".page-for-sale h1").waitFor();
  // No link leads to these addresses. The test reaches them with the forward button.
  for (const address of ["/nowhere", "/tickets/00000000-0000-7000-8000-000000000000"]) {
    await page.evaluate((path) => history.pushState(null, "", path), address);
    await page.goBack();
    await page.goForward();
    await page.locator(".empty h1").waitFor();
    assert.equal((await focused(page)).tag, "H1", address);
    await page.goBack();
    await page.locator(".page-for-sale h1").waitFor();
  }
});

for (const way of ["Back", "the link above the ticket"]) {
  test(`${way} restores the search, the scroll position and the row far down in the list`, async (t) => {
    const seller = await env.account("seller");
    const word = way === "Back" ? "Backward" : "Linkward";
    await seller.listMany(
      120,
      (index) => `${word} ${index} ${"with a long title ".repeat(index % 5)}`,
      () => 20,
    );
    const page = await env.openPage(t);
    await page.goto(`/?q=${word}&sort=price`);
    await page.locator(".row").first().waitFor();
    const titles = () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".row")]
          .filter((one) => {
            const { top, bottom } = one.getBoundingClientRect();
            return top > 200 && bottom < innerHeight;
          })
          .map((one) => [one.querySelector(".row-title").textContent, one.dataset.id]),
      );
    while ((await page.evaluate(() => scrollY)) < 5_000) {
      await page.mouse.wheel(0, 900);
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done())));
    }
    await page.waitForFunction(() => history.state?.y === scrollY);
    const [title, id] = (await titles())[0];
    const one = page.locator(`[data-id="${id}"]`);
    const before = await one.evaluate((element) => element.getBoundingClientRect().top);
    await one.locator("a").focus();
    await page.keyboard.press("Enter");
    await page.locator(".pass h1").waitFor();
    if (way === "Back") await page.goBack();
    else await page.locator(".crumb a").click();
    await one.waitFor();
    assert.equal(new URL(page.url()).search, `?q=${word}&sort=price`);
    assert.equal(await page.locator("#q").inputValue(), word);
    assert.equal((await focused(page)).row, title);
    const after = await one.evaluate((element) => element.getBoundingClientRect().top);
    assert.ok(Math.abs(after - before) < 2, `${before} before, ${after} after`);
  });
}

test("link above a ticket returns to the search after a reload and after a visit of the order", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Detour Cup", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/?q=cup");
  await row(page, "Detour Cup").locator("a").click();
  await page.locator(".pass h1").waitFor();
  await page.reload();
  await page.locator(".crumb a").click();
  await row(page, "Detour Cup").waitFor();
  assert.equal(new URL(page.url()).search, "?q=cup");

  await row(page, "Detour Cup").locator("a").click();
  await page.locator(".buy .button-primary").click();
  await page.locator(".hold-figures").waitFor();
  await page.locator(".cancel .button").first().click();
  await page.locator(".removal .button-danger").click();
  await page.locator(`.outcome a[href="/tickets/${ticket.id}"]`).click();
  await page.locator(".page-ticket .crumb a").click();
  await row(page, "Detour Cup").waitFor();
  assert.equal(new URL(page.url()).search, "?q=cup");
});

test("return to the list of orders focuses the row of the order", async (t) => {
  const { page } = await openOrder(t, "Row Of Orders");
  await page.locator('#nav a[href="/orders"]').click();
  await row(page, "Row Of Orders").locator("a").click();
  await page.locator(".hold-figures").waitFor();
  await page.locator(".crumb a").click();
  await row(page, "Row Of Orders").waitFor();
  assert.equal((await focused(page)).row, "Row Of Orders");
});

test("list has the same scroll position after a reload of the ticket's page", async (t) => {
  const seller = await env.account("seller");
  await seller.listMany(
    130,
    (index) => `Reloaded ${index}`,
    () => 20,
  );
  const page = await env.openPage(t);
  await page.goto("/?q=reloaded");
  await page.locator(".row").first().waitFor();
  while ((await page.evaluate(() => scrollY)) < 7_000) {
    await page.mouse.wheel(0, 900);
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done())));
  }
  const opened = await page.evaluate(() => {
    const seen = [...document.querySelectorAll(".row")].find(
      (one) => one.getBoundingClientRect().top > 200,
    );
    return { id: seen.dataset.id, top: seen.getBoundingClientRect().top };
  });
  const one = page.locator(`[data-id="${opened.id}"]`);
  await one.locator("a").click();
  await page.locator(".pass h1").waitFor();
  await page.reload();
  await page.locator(".pass h1").waitFor();
  await page.goBack();
  await one.waitFor();
  await page.waitForFunction(
    (id) => document.activeElement.closest("[data-id]")?.dataset.id === id,
    opened.id,
  );
  const top = await one.evaluate((element) => element.getBoundingClientRect().top);
  assert.ok(Math.abs(top - opened.top) < 2, `${opened.top} before, ${top} after`);
});

test("button that loads more rows moves the focus to the first new row", async (t) => {
  const seller = await env.account("seller");
  await seller.listMany(
    70,
    (index) => `Further ${index}`,
    () => 20,
  );
  const page = await env.openPage(t, { expected: [/net::ERR_FAILED/] });
  await page.route("**/api/tickets?*", (route) => {
    const url = new URL(route.request().url());
    if (!url.searchParams.has("after")) url.searchParams.set("limit", "50");
    return route.continue({ url: url.href });
  });
  await page.goto("/?q=further");
  await page.locator(".row").first().waitFor();
  let refuse = true;
  await page.route("**/api/tickets?*", (route) => (refuse ? route.abort() : route.fallback()));
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.locator(".notice-bad").waitFor();
  refuse = false;
  await page.locator(".rest .button").focus();
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.activeElement.matches(".row-link"));
  assert.equal(
    await page.evaluate(() =>
      Number(document.activeElement.closest(".row").getAttribute("aria-posinset")),
    ),
    51,
  );
});

for (const size of [SMALL_PHONE, { width: 320, height: 640 }, { width: 1280, height: 700 }]) {
  test(`Tab and Shift+Tab never focus an element under a fixed bar, ${size.width} px wide`, async (t) => {
    const seller = await env.account("seller");
    await seller.listMany(
      60,
      (index) => `Tabulator ${size.width} number ${index}`,
      () => 20,
    );
    const page = await env.openPage(t, { signedIn: true, size });
    await page.goto(`/?q=tabulator ${size.width}`);
    await page.locator(".row").first().waitFor();
    await page.locator("#q").focus();
    const walk = async (key, presses) => {
      for (let press = 0; press < presses; press += 1) {
        await page.keyboard.press(key);
        const covered = await page.evaluate(() => {
          const { activeElement } = document;
          if (activeElement.closest(".header, .pay-dock, .skip") || activeElement === document.body)
            return null;
          const box = (
            activeElement.closest(".row, label.card") ?? activeElement
          ).getBoundingClientRect();
          const header = document.querySelector(".header").getBoundingClientRect().bottom;
          const dock = document.querySelector(".pay-dock")?.getBoundingClientRect();
          const floor = dock?.height > 0 && dock.bottom >= innerHeight ? dock.top : innerHeight;
          return box.top < header - 1 || box.bottom > floor + 1
            ? `${activeElement.textContent}: ${box.top} to ${box.bottom}, free from ${header} to ${floor}`
            : null;
        });
        assert.equal(covered, null);
      }
    };
    await walk("Tab", 24);
    await page.evaluate(() => window.scrollBy(0, 500));
    await walk("Shift+Tab", 22);

    await page.locator(".row-link").first().click();
    await page.locator(".buy .button-primary").click();
    await page.locator(".hold-figures").waitFor();
    await page.getByRole("radio").first().waitFor();
    await walk("Tab", 9);
    await walk("Shift+Tab", 9);
  });
}

test("bank confirmation is scrolled to, focused and announced, and the result gets the focus", async (t) => {
  const { page, announced } = await openOrder(t, "Secure Show", { size: SMALL_PHONE });
  await page.getByLabel(/3184/).check();
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  await page.locator(".pay-dock .button-primary").click();
  const box = page.locator(".confirm");
  await box.waitFor();
  await announced.until("Your bank");
  assert.equal(await box.evaluate((element) => element.contains(document.activeElement)), true);
  assert.equal(await isUncovered(box), true);

  await box.getByRole("button").focus();
  await page.keyboard.press("Enter");
  await page.locator(".outcome .notice-good").waitFor();
  await announced.until("You paid $20");
  assert.equal(await page.evaluate(() => document.activeElement.className), "outcome");
  assert.equal(await isUncovered(page.locator(".outcome")), true);
});

test("order that waits for the bank does not take the focus when its page loads", async (t) => {
  const { page } = await openOrder(t, "Secure Reload");
  await pay(page, /3184/);
  await page.locator(".confirm").waitFor();
  await page.reload();
  await page.locator(".confirm").waitFor();
  assert.equal((await focused(page)).tag, "BODY");
});

test("message about a declined card is visible above the fixed button", async (t) => {
  const { page } = await openOrder(t, "Declined Small", {
    size: SMALL_PHONE,
    expected: [refusal(402)],
  });
  await pay(page, /0002/);
  await page.locator(".payment .notice-bad").waitFor();
  await page.waitForFunction(() => !document.querySelector(".pay-dock [aria-busy]"));
  assert.equal(await isUncovered(page.locator(".payment .notice-bad")), true);
});

test("focus stays on the order's page after a failed and a successful cancellation", async (t) => {
  const { page, announced } = await openOrder(t, "Cancelled Focus", { expected: [refusal(503)] });
  await page.route("**/api/orders/*", (route) =>
    route.request().method() === "DELETE"
      ? route.fulfill({
          status: 503,
          contentType: "application/problem+json",
          json: { status: 503, code: "unavailable" },
        })
      : route.continue(),
  );
  await page.locator(".cancel > .button").click();
  await page.unroute("**/api/orders/*");
  await page.locator(".removal .button-danger").click();
  await page.locator(".outcome .notice").waitFor();
  await announced.until("cancelled");
  assert.equal(await page.evaluate(() => document.activeElement.className), "outcome");
});

test("announcements differ for the buyer and other users and contain no link texts", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Spoken Show", 20);
  const buyer = await env.openPage(t, { signedIn: true });
  const second = await buyer.context().newPage();
  const other = await env.openPage(t);
  const pages = [buyer, second, other];
  for (const page of pages) {
    await page.goto(`/tickets/${ticket.id}`);
    await connected(page);
    await page.locator(".buy .button-primary").waitFor();
  }
  const [toBuyer, toSecond, toOther] = await Promise.all(pages.map(listen));
  await buyer.locator(".buy .button-primary").click();
  await buyer.locator(".hold-figures").waitFor();
  await toBuyer.until("reserved for you");
  await toSecond.until("reserved for you");
  await toOther.until("Another buyer");
  await pay(buyer, /4242/);
  await buyer.locator(".outcome .notice-good").waitFor();
  await toBuyer.until("You paid $20");
  await toSecond.until("You bought");
  await toOther.until("has been sold");
  const links = await buyer.locator(".outcome a").allTextContents();
  const spoken = [...(await toBuyer.all()), ...(await toSecond.all())];
  for (const words of spoken) {
    assert.doesNotMatch(words, /Another buyer/);
    for (const link of links) assert.ok(!words.includes(link), words);
  }
  assert.doesNotMatch(await buyer.locator(".outcome").textContent(), /[.!?][A-Z]/);
});

test("announcements to a seller name their own ticket", async (t) => {
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Sold By Me");
  await page.getByLabel("Price").fill("20");
  await page.locator("form .button-primary").click();
  await page.locator(".editor").waitFor();
  await connected(page);
  const announced = await listen(page);
  const rival = await env.account("rival");
  const order = await rival.lock({ id: page.url().split("/").at(-1) });
  await announced.until("your ticket");
  await rival.pay(order);
  await announced.until("Your ticket has been sold");
});

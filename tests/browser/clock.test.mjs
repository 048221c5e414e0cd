// Countdowns follow the server's clock when the device's clock is wrong or changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
const MINUTES_5_MS = 300_000;
/** Allowed error of a countdown: the digits change once a second, and a busy machine is late. */
const TOLERANCE_S = 30;

/** Makes the device's clock settable. Runs in the page before its own scripts. */
function settableClock() {
  const Original = Date;
  globalThis.deviceIsAheadMs = 0;
  globalThis.Date = class extends Original {
    constructor(...given) {
      super(...(given.length > 0 ? given : [Original.now() + globalThis.deviceIsAheadMs]));
    }

    static now() {
      return Original.now() + globalThis.deviceIsAheadMs;
    }
  };
}

async function openOrder(t, title) {
  const seller = await env.account("seller");
  const ticket = await seller.list(title, 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.addInitScript(settableClock);
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await connected(page);
  await page.locator(".hold-figures").waitFor();
  const order = await page.evaluate(() =>
    fetch(`/api${location.pathname}`).then((answer) => answer.json()),
  );
  return { page, expiresAt: Date.parse(order.expiresAt) };
}

/** Returns the shown seconds after the next change of the digits. */
async function nextFigures(page) {
  const figures = page.locator(".hold-figures");
  const before = await figures.textContent();
  await page.waitForFunction(
    (text) => document.querySelector(".hold-figures").textContent !== text,
    before,
  );
  const [minutes, seconds] = (await figures.textContent()).split(":").map(Number);
  return minutes * 60 + seconds;
}

for (const [name, aheadMs] of [
  ["ahead", MINUTES_5_MS],
  ["back", -MINUTES_5_MS],
]) {
  test(`countdown continues when the device's clock is set ${name} by five minutes`, async (t) => {
    const { page, expiresAt } = await openOrder(t, `Clock set ${name}`);
    await nextFigures(page);
    await page.evaluate((ms) => {
      globalThis.deviceIsAheadMs = ms;
    }, aheadMs);
    const shown = await nextFigures(page);
    const right = (expiresAt - Date.now()) / 1000;
    assert.ok(Math.abs(shown - right) < TOLERANCE_S, `${shown} s shown, ${right} s left`);
  });
}

test("countdown is correct when the page is shown after the device slept", async (t) => {
  const { page } = await openOrder(t, "Clock slept");
  const before = await nextFigures(page);
  // The page's clock stood still during a sleep of two minutes, so the server reports a later time than the page expects.
  await page.route("**/api/users/currentuser", async (route) => {
    const response = await route.fetch();
    const date = new Date(Date.now() + 120_000).toUTCString();
    await route.fulfill({ response, headers: { ...response.headers(), date } });
  });
  await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await page.waitForFunction(
    (limit) => {
      const [minutes, seconds] = document.querySelector(".hold-figures").textContent.split(":");
      return Number(minutes) * 60 + Number(seconds) < limit;
    },
    before - 120 + TOLERANCE_S,
  );
});

test("page requests the server's time when the device's clock jumps", async (t) => {
  const { page } = await openOrder(t, "Clock jumped");
  const asked = page.waitForRequest("**/api/users/currentuser", { timeout: 20_000 });
  await page.evaluate((ms) => {
    globalThis.deviceIsAheadMs = ms;
  }, MINUTES_5_MS);
  await asked;
  await says(page.locator(".hold-label"), "Reserved for you");
});

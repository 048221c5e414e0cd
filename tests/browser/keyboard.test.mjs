// A first visit with the keyboard alone: only Tab, Enter, Space and typing, from the list to the paid order.

import assert from "node:assert/strict";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import { PHONE, says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({});
/** Maximum number of Tab presses: more than any page needs. */
const STOPS_MAX = 60;

/** Returns the approximate accessible name of the element with the focus. */
function focused(page) {
  return page.evaluate(() => {
    const element = document.activeElement;
    const label = element.getAttribute("aria-label") ?? element.labels?.[0]?.textContent;
    return (label ?? element.textContent).replace(/\s+/g, " ").trim();
  });
}

/** Presses Tab until a matching element has the focus. It must be visible and not covered. */
async function tabTo(page, pattern) {
  const passed = [];
  for (let stop = 0; stop < STOPS_MAX; stop += 1) {
    await page.keyboard.press("Tab");
    const name = await focused(page);
    if (pattern.test(name)) return assertVisible(page, name);
    passed.push(name);
  }
  assert.fail(`the Tab key does not reach ${pattern}; it reached ${passed.join(" | ")}`);
}

/** WCAG 2.4.7 and 2.4.11: the focus is visible, and a part of the element is not covered. */
async function assertVisible(page, name) {
  const seen = await page.evaluate(() => {
    const element = document.activeElement;
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const at = (x, y) => document.elementFromPoint(x, y);
    const points = [0.1, 0.5, 0.9].flatMap((x) => [0.2, 0.5, 0.8].map((y) => [x, y]));
    const hits = points.map(([x, y]) => at(left + (right - left) * x, top + (bottom - top) * y));
    const own = (hit) =>
      hit !== null &&
      (element.contains(hit) || [...(element.labels ?? [])].some((label) => label.contains(hit)));
    return hits.some(own);
  });
  assert.ok(seen, `“${name}” has the focus, but is completely hidden`);
}

async function type(page, label, text) {
  await tabTo(page, label);
  await page.keyboard.type(text);
}

for (const [name, size] of [
  ["a desktop", undefined],
  ["a phone", PHONE],
]) {
  test(`first visit with the keyboard alone on ${name} ends with a paid order`, async (t) => {
    const seller = await env.account("seller");
    await seller.list("Keyboard Symphony", 20);
    await seller.list("Other Symphony", 30);
    const page = await env.openPage(t, { size });
    await page.goto("/");
    await page.locator(".row").first().waitFor();

    await type(page, /^Search tickets/, "keyboard sym");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/?q=keyboard*");
    await page.locator(".row").filter({ hasText: "Keyboard Symphony" }).first().waitFor();
    await tabTo(page, /Keyboard Symphony/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/tickets/*");

    await tabTo(page, /^Sign in to buy/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/signin?next=*");
    await tabTo(page, /^Sign up$/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/signup?next=*");
    await type(page, /^Email/, newEmail("keyboard"));
    await type(page, /^Password/, PASSWORD);
    await tabTo(page, /^Create account$/);
    await page.keyboard.press("Space");
    await page.waitForURL("**/tickets/*");

    await tabTo(page, /^Buy/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/orders/*");
    await page.locator(".hold-figures").waitFor();
    await tabTo(page, /^Pay \$20$/);
    await page.keyboard.press("Space");
    await says(page.locator(".outcome"), "It's yours", 5_000);

    await tabTo(page, /^See my orders$|^My orders$/);
    await page.keyboard.press("Enter");
    await page.waitForURL("**/orders");
    await says(page.locator(".row"), "Keyboard Symphony", 5_000);
  });
}

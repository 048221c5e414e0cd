// Tests of the test environment: the failures that it must detect are detected.

import assert from "node:assert/strict";
import { test } from "node:test";
import { says, testEnvironment, watch } from "./support/environment.mjs";

const env = testEnvironment({});

test("policy violation, console error and exception each fail a test", async (t) => {
  const page = await env.openPage(t, {
    expected: [/Content Security Policy|a fault|on purpose|TrustedHTML|Trusted Type/],
  });
  const complaints = watch(page);
  await page.goto("/");
  const noticed = async (pattern) => {
    const deadline = Date.now() + 5_000;
    while (!complaints.some((text) => pattern.test(text)) && Date.now() < deadline)
      await page.evaluate(() => new Promise(requestAnimationFrame));
    assert.ok(
      complaints.some((text) => pattern.test(text)),
      `${pattern} in ${complaints}`,
    );
  };
  await page.evaluate(() => document.querySelector("h1").setAttribute("style", "color: red"));
  await noticed(/Content Security Policy/);
  await page.evaluate(() => console.error("a fault"));
  await noticed(/a fault/);
  await page.evaluate(
    () =>
      void setTimeout(() => {
        throw new Error("on purpose");
      }),
  );
  await noticed(/on purpose/);
  await page.evaluate(() => {
    try {
      document.querySelector("h1").innerHTML = "<b>x</b>";
    } catch {
      /* the exception is intended */
    }
  });
  assert.equal(await page.locator("h1 b").count(), 0);
});

test("page without frames does not show a lock (negative control)", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("Unseen", 20);
  const page = await env.openPage(t);
  await page.routeWebSocket("**/ws*", () => {}); // opens and sends no frame
  await page.goto(`/tickets/${ticket.id}`);
  await says(page.locator(".status"), "Available", 5_000);
  await rival.lock(ticket);
  await assert.rejects(says(page.locator(".status"), "Locked", 2_000), /Timeout/);
});

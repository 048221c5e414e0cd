// Accessibility: no axe-core violation on any page in both themes, no overflow on the smallest phone, full keyboard use.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import { newEmail, PASSWORD } from "./support/account.mjs";
import {
  connected,
  DESKTOP,
  PHONE,
  refusal,
  SMALLEST,
  says,
  testEnvironment,
} from "./support/environment.mjs";

const env = testEnvironment({});
const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Opens every screen in a state with much content. `visit` is called on each. */
async function tour(page, seller, visit) {
  const [available, held, locked] = [
    await seller.list("Grand <Opera> Night", 120),
    await seller.list(
      "Comedy Club with quite a long title, so that it has to break somewhere",
      19.99,
    ),
    await seller.list("Tennis Final", 250),
  ];
  await seller.other.lock(locked);
  await page.goto("/");
  await page.locator(".row").first().waitFor();
  await visit("list, signed out");
  await page.goto("/signin");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await visit("sign in");
  await page.goto("/signup");
  await page.getByRole("button", { name: "Create account" }).click();
  await page.locator(".field-error:not(:empty)").first().waitFor();
  await visit("sign up, refused");
  await page.getByLabel("Email").fill(newEmail("guest"));
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.locator(".row").first().waitFor();
  await visit("list, signed in");
  await page.goto("/?q=nothing");
  await page.locator(".empty").waitFor();
  await visit("list, nothing found");
  await page.goto(`/tickets/${available.id}`);
  await page.getByRole("button", { name: "Buy" }).waitFor();
  await visit("ticket");
  await page.goto(`/tickets/${locked.id}`);
  await connected(page);
  await page.locator(".status-locked").waitFor();
  await visit("ticket, locked");
  await page.goto(`/tickets/${held.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await visit("order");
  await page.getByLabel(/0002/).check();
  await page.getByRole("button", { name: /^Pay/ }).click();
  await page.locator(".notice-bad").waitFor();
  await visit("order, declined");
  await page.goto("/orders");
  await page.locator(".row").first().waitFor();
  await visit("my orders");
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("My own");
  await visit("create a ticket");
  await page.getByLabel("Price").fill("10");
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.locator(".editor").waitFor();
  await page.getByRole("button", { name: "Take off sale" }).click();
  await visit("one's own ticket");
  await page.goto("/listings");
  await page.locator(".row").first().waitFor();
  await visit("my listings");
  await page.goto("/account");
  await page.getByRole("heading", { name: "Account" }).waitFor();
  await visit("account");
  await page.goto("/tickets/00000000-0000-7000-8000-000000000000");
  await page.locator(".empty").waitFor();
  await visit("not there");
}

async function someSeller() {
  const seller = await env.account("seller");
  seller.other = await env.account("rival");
  return seller;
}

for (const scheme of ["light", "dark"]) {
  for (const [name, size] of [
    ["a phone", PHONE],
    ["a desktop", DESKTOP],
  ]) {
    test(`axe-core reports no violation on any page, ${scheme}, on ${name}`, async (t) => {
      const page = await env.openPage(t, { scheme, size, expected: [refusal(400, 402, 404)] });
      await tour(page, await someSeller(), async (where) => {
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() =>
          globalThis.axe.run(document, { resultTypes: ["violations"] }),
        );
        const findings = violations.map(
          ({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`,
        );
        assert.deepEqual(findings, [], where);
      });
    });
  }
}

test("no page is wider than the smallest phone", async (t) => {
  const page = await env.openPage(t, { size: SMALLEST, expected: [refusal(400, 402, 404)] });
  await tour(page, await someSeller(), async (where) => {
    const [wide, window] = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      innerWidth,
    ]);
    assert.ok(wide <= window, `${where}: ${wide} px in ${window}`);
  });
});

test("ticket is found, bought and paid with the keyboard alone", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Keyboard Concert", 20);
  const page = await env.openPage(t, { signedIn: true });
  await page.goto("/");
  await page.locator(".row").first().waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
  await page.getByLabel("Search tickets").focus();
  await page.keyboard.type("keyboard");
  await page.keyboard.press("Enter");
  await page.waitForURL("**/?q=keyboard");
  await page.locator(".row").waitFor();
  await tabTo(page, "Keyboard Concert");
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "Buy" }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await tabTo(page, "Buy");
  await page.keyboard.press("Enter");
  await page.locator(".hold-figures").waitFor();
  await tabTo(page, "Pay $20");
  await page.keyboard.press("Enter");
  await says(page.locator(".outcome"), "It's yours", 5_000);
});

async function tabTo(page, text) {
  for (let presses = 0; presses < 30; presses += 1) {
    await page.keyboard.press("Tab");
    if ((await page.evaluate(() => document.activeElement.textContent)).trim() === text) return;
  }
  assert.fail(`the Tab key does not reach “${text}”`);
}

// A purchase in Firefox, because the other tests run in Chromium only.

import assert from "node:assert/strict";
import { test } from "node:test";
import { connected, row, says, signIn, signUp, testEnvironment } from "./support/environment.mjs";
import { launchFirefox } from "./support/firefox.mjs";

const env = testEnvironment({}, launchFirefox);
const LOADED_MS = 5_000;

async function search(page, words) {
  await page.getByLabel("Search tickets").fill(words);
  await page.keyboard.press("Enter");
  await page.waitForURL(`**/?q=${encodeURIComponent(words)}`);
}

test("test browser is Firefox", async (t) => {
  const page = await env.openPage(t);
  assert.match(await page.evaluate(() => navigator.userAgent), /Firefox\/\d+/);
  assert.match(env.browser.version(), /^\d+\./);
});

test("search in Firefox lists the matching tickets", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Firefox Opera", 20);
  await seller.list("Firefox Ballet", 30);
  const page = await env.openPage(t);
  await page.goto("/");
  await row(page, "Firefox Ballet").waitFor();
  await search(page, "opera");
  await row(page, "Firefox Opera").waitFor();
  assert.equal(await page.locator(".row").count(), 1);
});

test("ticket is bought in Firefox with a sandbox card after sign-up and shown as paid", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Firefox Concert", 20);
  const page = await env.openPage(t);
  await signUp(page);
  await page.goto("/");
  await row(page, "Firefox Concert").getByRole("link").first().click();
  await page.waitForURL(`**/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await page.getByLabel(/4242/).check();
  await page.getByRole("button", { name: "Pay $20" }).click();
  await says(page.locator(".outcome"), "It's yours", LOADED_MS);
  await page.getByRole("link", { name: "My orders" }).first().click();
  await says(row(page, "Firefox Concert"), "Bought", LOADED_MS);
});

test("ticket locked and bought by another user changes in Firefox without a reload", async (t) => {
  const seller = await env.account("seller");
  const rival = await env.account("rival");
  const ticket = await seller.list("Firefox Finale", 20);
  const page = await env.openPage(t);
  await page.goto("/?q=finale");
  await connected(page);
  await says(row(page, "Firefox Finale"), "Available", LOADED_MS);
  const order = await rival.lock(ticket);
  await says(row(page, "Firefox Finale"), "Locked", LOADED_MS);
  await rival.pay(order);
  await says(row(page, "Firefox Finale"), "Sold", LOADED_MS);
});

test("user who signs out in Firefox can sign in again", async (t) => {
  const page = await env.openPage(t);
  const email = await signUp(page);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("link", { name: "Sign in" }).first().click();
  await signIn(page, email);
  await page.goto("/account");
  await page.getByText(email).first().waitFor();
});

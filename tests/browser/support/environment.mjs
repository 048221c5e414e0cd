// The test environment: a server, a browser, and users with pages. Console errors, exceptions and violations of the
// Content-Security-Policy fail a test unless the test expects them.

import assert from "node:assert/strict";
import { after, before } from "node:test";
import { chromium } from "playwright-core";
import { Account, newEmail, PASSWORD } from "./account.mjs";
import { Server } from "./server.mjs";

export const PHONE = { width: 390, height: 800 };
export const DESKTOP = { width: 1280, height: 850 };
export const SMALLEST = { width: 320, height: 640 };

/** Maximum time until a change is on every open page. */
export const LIVE_MS = 1_000;
const ACTION_TIMEOUT_MS = 10_000;

const CHROMIUM = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};

export function launch(args = []) {
  return chromium.launch({ ...CHROMIUM, args: [...CHROMIUM.args, ...args] });
}

/** A server and a browser for all tests of a file; `start` launches the browser. */
export function testEnvironment(settings, start = launch) {
  const server = new Server(settings);
  const environment = {
    server,
    browser: null,
    openPage: (t, options) => openPage(t, environment, options),
    account: (name) => Account.signUp(server.origin, name),
  };
  before(async () => {
    await server.start();
    environment.browser = await start();
  });
  after(async () => {
    await environment.browser?.close();
    await server.stop();
  });
  return environment;
}

/**
 * Opens a page in its own browser context.
 * @param {object} [options]
 * @param {boolean} [options.signedIn] signs up and signs in through the page
 * @param {RegExp[]} [options.expected] allowed console messages: browsers log each refusal as an error
 */
async function openPage(
  t,
  { browser, server },
  { signedIn = false, size = DESKTOP, scheme = "light", locale = "en-US", expected = [] } = {},
) {
  const context = await browser.newContext({
    baseURL: server.origin,
    viewport: size,
    colorScheme: scheme,
    locale,
  });
  context.setDefaultTimeout(ACTION_TIMEOUT_MS);
  const page = await context.newPage();
  const complaints = watch(page, expected);
  t.after(async () => {
    // A route handler that still waits for its response must not fail the test that has ended.
    await Promise.all(context.pages().map((page) => page.unrouteAll({ behavior: "ignoreErrors" })));
    await context.close();
    assert.deepEqual(complaints, [], "the page has no unexpected errors");
  });
  if (signedIn) await signUp(page);
  return page;
}

/** Collects all unexpected errors of a page. */
export function watch(page, expected = []) {
  const complaints = [];
  const complain = (text) =>
    expected.some((pattern) => pattern.test(text)) || complaints.push(text);
  page.on(
    "console",
    (message) => ["error", "warning"].includes(message.type()) && complain(message.text()),
  );
  page.on("pageerror", (error) => complain(`thrown: ${error.stack}`));
  return complaints;
}

/** Returns a pattern of the console message for a refusal with one of these statuses. */
export function refusal(...statuses) {
  return new RegExp(
    `^Failed to load resource: the server responded with a status of (${statuses.join("|")}) `,
  );
}

/** Signs up through the page. */
export async function signUp(page, email = newEmail("buyer")) {
  await page.goto("/signup");
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("link", { name: "My orders" }).waitFor();
  return email;
}

/** Signs in through the page's sign-in form. */
export async function signIn(page, email) {
  await page.getByLabel("Email").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("link", { name: "My orders" }).waitFor();
}

/** Waits until the page is connected and its first snapshot is verified. */
export async function connected(page) {
  await page.locator("html[data-connection=live]").waitFor({ state: "attached" });
}

/** Returns a ticket's row in the list. */
export function row(page, title) {
  return page.locator(".row", { hasText: title });
}

/** Removes the embedded API response from every document, so that the page requests it. */
export async function withoutServed(page) {
  await page.addInitScript(() => {
    const remove = () => document.getElementById("served")?.remove();
    new MutationObserver(remove).observe(document, { childList: true, subtree: true });
  });
}

/** Waits until an element contains a text, by default for the maximum time of a live change. */
export async function says(locator, text, timeout = LIVE_MS) {
  await locator.filter({ hasText: text }).first().waitFor({ timeout });
}

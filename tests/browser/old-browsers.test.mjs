// The oldest supported browsers (web/README.md), and the message in older ones. The tests use Chromium and delete the features
// that these browsers lack before the scripts of the page run.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { newEmail, PASSWORD } from "./support/account.mjs";
import {
  connected,
  launch,
  row,
  says,
  signUp,
  testEnvironment,
  watch,
} from "./support/environment.mjs";

const env = testEnvironment({});
const WEB = fileURLToPath(new URL("../../web/", import.meta.url));
const TOO_OLD = "This browser is too old for GitTix.";

/** Features that Chrome 93, Firefox 92 or Safari 15.4 lacks, or any browser without a secure context. */
const MISSING = [
  "AbortSignal.any",
  "AbortSignal.timeout",
  "AbortSignal.prototype.throwIfAborted",
  "Array.fromAsync",
  "Array.prototype.findLast",
  "Array.prototype.findLastIndex",
  "Array.prototype.toReversed",
  "Array.prototype.toSorted",
  "Array.prototype.toSpliced",
  "Array.prototype.with",
  "CSS.registerProperty",
  "CompressionStream",
  "Crypto.prototype.randomUUID",
  "Crypto.prototype.subtle",
  "Document.prototype.adoptedStyleSheets",
  "Document.prototype.startViewTransition",
  "Element.prototype.checkVisibility",
  "HTMLDialogElement",
  "HTMLElement.prototype.hidePopover",
  "HTMLElement.prototype.inert",
  "HTMLElement.prototype.popover",
  "HTMLElement.prototype.showPopover",
  "HTMLElement.prototype.togglePopover",
  "Intl.DurationFormat",
  "Intl.Segmenter",
  "Intl.supportedValuesOf",
  "Iterator",
  "Map.groupBy",
  "Navigator.prototype.locks",
  "Object.groupBy",
  "Promise.try",
  "Promise.withResolvers",
  "RegExp.escape",
  "Response.json",
  "Set.prototype.difference",
  "Set.prototype.intersection",
  "Set.prototype.isSubsetOf",
  "Set.prototype.union",
  "String.prototype.isWellFormed",
  "String.prototype.toWellFormed",
  "URL.canParse",
  "URL.parse",
  "URLSearchParams.prototype.size",
  "cancelIdleCallback",
  "navigation",
  "requestIdleCallback",
  "scheduler",
  "structuredClone",
];

/** Methods of iterators. Their prototype has no global name in these browsers. */
const ITERATOR_METHODS = [
  "drop",
  "every",
  "filter",
  "find",
  "flatMap",
  "forEach",
  "map",
  "reduce",
  "some",
  "take",
  "toArray",
];

/** Deletes the features. Runs in the page before its own scripts. */
function remove([missing, iteratorMethods]) {
  const iterators = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
  for (const method of iteratorMethods) delete iterators[method];
  for (const path of missing) {
    const names = path.split(".");
    const last = names.pop();
    const owner = names.reduce((object, name) => object?.[name], globalThis);
    if (owner) delete owner[last];
  }
}

test("ticket is found, bought, listed and changed in a browser without newer features", async (t) => {
  const seller = await env.account("seller");
  await seller.list("Old Browser Show", 20);
  const page = await env.openPage(t);
  await page.addInitScript(remove, [MISSING, ITERATOR_METHODS]);
  await signUp(page);
  const left = await page.evaluate(
    (missing) =>
      missing.filter((path) => {
        const names = path.split(".");
        const last = names.pop();
        const owner = names.reduce((object, name) => object?.[name], globalThis);
        return owner && last in owner;
      }),
    MISSING,
  );
  assert.deepEqual(left, [], "all features are deleted");
  await page.goto("/");
  await connected(page);
  await row(page, "Old Browser Show").waitFor();
  await page.getByLabel("Search tickets").fill("old browser");
  await page.getByRole("button", { name: "Search" }).click();
  await page.waitForURL("**/?q=old+browser");
  await page.getByRole("link", { name: "Old Browser Show" }).click();
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await page.getByRole("button", { name: "Pay $20" }).click();
  await says(page.locator(".outcome"), "It's yours", 5_000);
  await page.goto("/orders");
  await says(row(page, "Old Browser Show"), "Bought", 5_000);
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Sold by an old browser");
  await page.getByLabel("Price").fill("19.99");
  await page.getByRole("button", { name: "List ticket" }).click();
  await page.getByLabel("Price").fill("18");
  await page.getByRole("button", { name: "Save changes" }).click();
  await says(page.locator(".notice"), "Your changes are saved", 5_000);
  assert.equal(await page.locator(".old-browser").count(), 0);
});

test("ticket is bought and listed over plain http from another machine (an insecure context)", async (t) => {
  const seller = await env.account("seller");
  const ticket = await seller.list("Plain Http Show", 20);
  const browser = await launch(["--host-resolver-rules=MAP tickets.test 127.0.0.1"]);
  t.after(() => browser.close());
  const port = new URL(env.server.origin).port;
  const context = await browser.newContext({ baseURL: `http://tickets.test:${port}` });
  const page = await context.newPage();
  const complaints = watch(page, [/Cross-Origin-Opener-Policy header has been ignored/]);
  await page.goto("/signup");
  assert.equal(await page.evaluate(() => isSecureContext), false);
  await page.getByLabel("Email").fill(newEmail());
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.getByRole("link", { name: "My Orders" }).waitFor();
  await page.goto(`/tickets/${ticket.id}`);
  await connected(page);
  await page.getByRole("button", { name: "Buy" }).click();
  await page.locator(".hold-figures").waitFor();
  await page.goto("/tickets/new");
  await page.getByLabel("Title").fill("Sold over plain http");
  await page.getByLabel("Price").fill("19");
  await page.getByRole("button", { name: "List ticket" }).click();
  await says(page.locator(".price"), "$19", 5_000);
  assert.deepEqual(complaints, []);
});

test("browser that is too old shows a message although it cannot run the pages", async (t) => {
  const page = await env.openPage(t, { expected: [/SyntaxError/, /^thrown: $/] });
  await page.addInitScript(() => delete Object.hasOwn);
  await page.route("**/app.js", (route) =>
    route.fulfill({ contentType: "text/javascript", body: "a syntax that is unknown" }),
  );
  await page.goto("/");
  await says(page.locator(".old-browser"), TOO_OLD, 5_000);
});

test("supported browser shows no message about old browsers", async (t) => {
  const page = await env.openPage(t);
  await page.goto("/");
  await connected(page);
  assert.equal(await page.locator(".old-browser").count(), 0);
});

/** Syntax that cannot be deleted, and style properties that a page needs to be readable. Progressive ones are not listed. */
const NEWER_SYNTAX = {
  ".js": [
    /\(\?<[=!]/,
    /\bstatic \{/,
    /\/[a-z]*v[a-z]*[;,.)]$/m,
    /^(?:const .*= )?await /m,
    /\busing \w+ =/,
  ],
  ".css": [/light-dark\(/, /@layer/, /@container/, /^\s+&/m, /@scope/, /oklch\(/],
};

test("pages use only the syntax of the oldest supported browsers", async () => {
  const files = (await readdir(WEB, { recursive: true })).filter(
    (name) => !name.startsWith("docs/"),
  );
  let read = 0;
  for (const name of files) {
    const patterns = NEWER_SYNTAX[name.slice(name.lastIndexOf("."))];
    if (!patterns) continue;
    read += 1;
    const text = await readFile(WEB + name, "utf8");
    for (const pattern of patterns) assert.doesNotMatch(text, pattern, name);
  }
  assert.ok(read > 40);
});

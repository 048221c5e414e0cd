// The texts of the pages: all are in web/words and follow the rules of plain English.

import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { Problem } from "../../web/net/api.js";
import { declineText, paymentLimitText, refusalText } from "../../web/words/refusals.js";
import { screens, texts } from "../../web/words/texts.js";
import { literalsOf } from "./support/literals.mjs";

const WEB = new URL("../../web/", import.meta.url);
/** Names of the API and of the platform that are not texts. */
const NAMES = new Set([
  ...["Created", "Completed", "Cancelled", "Failed", "Locked", "Sold", "Available,Locked,Sold"],
  ...["Hello", "Watching", "Watch", "Reset", "Error", "Problem"],
  ...["Date", "Link", "Enter", "Escape", "Tab"],
  ...["Visa", "Mastercard"],
]);
/** Words that begin with a capital letter inside a sentence. */
const PROPER_NAMES = new Set(["GitTix", "X"]); // X: the example of a currency;
const FORBIDDEN = [
  /back where you were/i,
  /anew/i,
  /not right yet/i,
  /(\b[\w ]{8,}\b)[.:] \1/i,
  /present password/i,
  /any more/i,
  /\b(some|any|no)body\b/i,
  /whoever|whatever it is|meanwhile|lapse|have a look|likewise|by and by/i,
  /^submit$/i,
];

async function modulesOf(folder) {
  const entries = await readdir(new URL(folder, WEB), { recursive: true });
  return entries.filter((name) => name.endsWith(".js")).map((name) => folder + name);
}

/** Returns all texts below an object. Functions are called with an example of each argument. */
function textsOf(value) {
  if (typeof value === "string") return [value];
  if (typeof value === "function") return [value("x", "y")];
  return Object.values(value).flatMap(textsOf);
}

const TEXTS = [...textsOf(screens), ...textsOf(texts)];
const REFUSALS = await refusals();

/** Returns the texts for all error codes, with and without a time to wait. */
async function refusals() {
  const source = await readFile(new URL("words/refusals.js", WEB), "utf8");
  const codes = [...source.matchAll(/^ {2}(\w+): \[/gm)].map(([, code]) => code);
  assert.ok(codes.length > 20);
  const said = [...codes, "unknown"].flatMap((code) =>
    [null, 20, 600, 86_400].map((retryAfterSeconds) =>
      refusalText(new Problem({ status: 409, code, retryAfterSeconds })),
    ),
  );
  const limit = new Problem({ status: 429, code: "too_many_requests", retryAfterSeconds: 60 });
  said.push(declineText(undefined), paymentLimitText(limit, 10), paymentLimitText(limit, 90));
  return said.flatMap(({ what, advice }) => [what, advice, `${what} ${advice}`]);
}

test("every text for users is in web/words", async () => {
  const folders = ["core/", "net/", "state/", "parts/", "pay/", "pages/"];
  const modules = ["app.js", ...(await Promise.all(folders.map(modulesOf))).flat()];
  assert.ok(modules.length > 40);
  const found = [];
  for (const path of modules)
    for (const literal of literalsOf(await readFile(new URL(path, WEB), "utf8")))
      if (isText(literal)) found.push(`${path}: ${literal}`);
  assert.deepEqual(found, []);
});

/** Whether a literal is a text: a capital letter before small ones, or words that end with a punctuation mark. */
function isText(literal) {
  const text = literal.trim();
  if (NAMES.has(text)) return false;
  if (/^[\w.-]+$/.test(text)) return /^[A-Z][a-z]+$/.test(text);
  return /\b[A-Z][a-z]/.test(text) || /[a-z]{2} [a-z]{2}.*[.,?!…’]$/i.test(text);
}

test("text outside web/words is detected (negative control)", () => {
  const source = `
    // "A comment" is no text
    /* "Nor this one" */
    import { h } from "./Some Module.js";
    const plain = "Sign in";
    const template = \`You paid \${money(amount, "No price")} for \${count} tickets\`;
    const pattern = /"Not a text"/.test(name);
    throw new Error("Meant for developers");
    h("button", { class: "button button-primary" }, "Buy");`;
  assert.deepEqual(literalsOf(source).filter(isText), ["Sign in", "You paid ", "No price", "Buy"]);
});

test("no text contains a phrase of the forbidden list", async () => {
  const shell = (await readFile(new URL("index.html", WEB), "utf8")).split("\n");
  for (const text of [...TEXTS, ...REFUSALS, ...shell])
    for (const phrase of FORBIDDEN) assert.doesNotMatch(text, phrase);
});

test("every text is in sentence case", () => {
  for (const text of [...TEXTS, ...REFUSALS])
    for (const sentence of text.split(/(?<=[.?!:·])\s+/)) {
      const words = sentence.split(/\s+/).slice(1);
      const capitals = words.filter(
        (word) => /^[“(]?[A-Z]/.test(word) && !PROPER_NAMES.has(plain(word)),
      );
      assert.deepEqual(capitals, [], text);
    }
});

/** Returns a word without the punctuation around it. */
function plain(word) {
  return word.replace(/[^\p{L}]/gu, "");
}

test("every sentence of a refusal ends with a full stop", () => {
  for (const text of REFUSALS) assert.match(text, /[.]$/);
});

test("every screen has a unique name", () => {
  const names = Object.values(screens).map((name) => name.toLowerCase());
  assert.equal(new Set(names).size, names.length);
});

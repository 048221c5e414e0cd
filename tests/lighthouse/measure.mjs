// Lighthouse on every page: the median of three runs each, as a phone on a slow network (its default). Prints a table. Ends with
// an error if a score is below its goal. `node measure.mjs [page …]` measures only these pages.

import { launch } from "chrome-launcher";
import lighthouse from "lighthouse";
import { Account } from "../browser/support/account.mjs";
import { Server } from "../browser/support/server.mjs";

const RUNS = 3;
const GOALS = { performance: 95, accessibility: 100, "best-practices": 100, seo: 100 };
const TICKETS = 200;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** Audits to skip on private pages: these pages exclude search engines on purpose. */
const PRIVATE = ["is-crawlable"];

const only = process.argv.slice(2);
const server = new Server();
let failed = false;
await server.start();
try {
  const pages = (await prepared()).filter(({ name }) => only.length === 0 || only.includes(name));
  console.log(`| page | ${Object.keys(GOALS).join(" | ")} |\n| --- |${" --- |".repeat(Object.keys(GOALS).length)}`);
  for (const page of pages) failed = report(page, await measured(page)) || failed;
} finally {
  await server.stop();
}
process.exitCode = failed ? 1 : 0;

/** Returns every page, with content. */
async function prepared() {
  const seller = await Account.signUp(server.origin, "seller");
  const buyer = await Account.signUp(server.origin, "buyer");
  await seller.listMany(TICKETS, (index) => `Rock Concert, seat ${index}`, (index) => 20 + index);
  const [ticket, held, bought] = [await seller.list("Classical Concert", 100), await seller.list("Football Game", 40), await seller.list("Jazz Night", 30)];
  const order = await buyer.lock(held);
  await buyer.pay(await buyer.lock(bought));
  await buyer.list("Tennis Final", 80);
  const forAll = (name, path) => ({ name, path, cookie: undefined, skipAudits: [] });
  const forUser = (name, path) => ({ name, path, cookie: buyer.cookie, skipAudits: PRIVATE });
  return [
    forAll("list", "/"),
    forAll("ticket", `/tickets/${ticket.id}`),
    forUser("order", `/orders/${order.id}`),
    forUser("orders", "/orders"),
    forUser("listings", "/listings"),
    forUser("new ticket", "/tickets/new"),
    { ...forUser("sign in", "/signin"), cookie: undefined },
    { ...forUser("sign up", "/signup"), cookie: undefined },
    forUser("account", "/account"),
    forAll("docs", "/docs"),
  ];
}

/** Returns for each category the sorted scores of all runs and the failed audits of the last run. */
async function measured({ path, cookie, skipAudits }) {
  const scores = Object.fromEntries(Object.keys(GOALS).map((category) => [category, []]));
  let audits = [];
  for (let run = 0; run < RUNS; run += 1) {
    const chrome = await launch({ chromePath: process.env.CHROMIUM ?? "/usr/bin/chromium", chromeFlags: FLAGS });
    try {
      const extraHeaders = cookie ? { Cookie: cookie } : undefined;
      const { lhr } = await lighthouse(server.origin + path, { port: chrome.port, onlyCategories: Object.keys(GOALS), extraHeaders, skipAudits, logLevel: "error" });
      for (const category of Object.keys(GOALS)) scores[category].push(Math.round(lhr.categories[category].score * 100));
      audits = refused(lhr);
    } finally {
      chrome.kill();
    }
  }
  for (const list of Object.values(scores)) list.sort((a, b) => a - b);
  return { scores, audits };
}

/** Prints a page's row, and the failed audits of low scores. Returns whether a score is low. */
function report({ name }, { scores, audits }) {
  const medians = Object.entries(scores).map(([category, list]) => [category, list[Math.floor(list.length / 2)], list]);
  console.log(`| ${name} | ${medians.map(([, median, list]) => `${median} (${list.join(" ")})`).join(" | ")} |`);
  const low = medians.filter(([category, median]) => median < GOALS[category]);
  if (low.length > 0) console.log([`${name}: ${low.map(([category]) => category).join(", ")} below the goal`, ...audits].join("\n  "));
  return low.length > 0;
}

function refused(lhr) {
  const rated = Object.values(lhr.categories).flatMap(({ auditRefs }) => auditRefs.filter(({ weight }) => weight > 0).map(({ id }) => lhr.audits[id])).filter(Boolean);
  return rated.filter(({ score }) => score !== null && score < 0.9).map(({ id, title, displayValue }) => `${id}: ${title} ${displayValue ?? ""}`);
}

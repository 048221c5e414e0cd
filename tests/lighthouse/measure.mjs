// Lighthouse on the list, a ticket and an order: the median of three runs each, as a phone on a slow network (its default).
// Ends with an error when a score is below its goal.

import { launch } from "chrome-launcher";
import lighthouse from "lighthouse";
import { Account } from "../browser/stage/account.mjs";
import { Server } from "../browser/stage/server.mjs";

const RUNS = 3;
const GOALS = { performance: 90, accessibility: 100, "best-practices": 100, seo: 100 };
const TICKETS = 200;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

const server = new Server();
let failed = false;
await server.start();
try {
  const seller = await Account.signUp(server.origin, "seller");
  const buyer = await Account.signUp(server.origin, "buyer");
  await seller.listMany(TICKETS, (index) => `Rock Concert, seat ${index}`, (index) => 20 + index);
  const [ticket, held] = [await seller.list("Classical Concert", 100), await seller.list("Football Game", 40)];
  const order = await buyer.lock(held);
  const pages = [["list", "/"], ["ticket", `/tickets/${ticket.id}`], ["order", `/orders/${order.id}`]];
  for (const [name, path] of pages) failed = report(name, await measured(path, buyer)) || failed;
} finally {
  await server.stop();
}
process.exitCode = failed ? 1 : 0;

/** Of each category the scores of all runs, sorted, and the refused audits of the last. */
async function measured(path, account) {
  const scores = Object.fromEntries(Object.keys(GOALS).map((category) => [category, []]));
  let audits = [];
  for (let run = 0; run < RUNS; run += 1) {
    const chrome = await launch({ chromePath: process.env.CHROMIUM ?? "/usr/bin/chromium", chromeFlags: FLAGS });
    try {
      const { lhr } = await lighthouse(server.origin + path, { port: chrome.port, onlyCategories: Object.keys(GOALS), extraHeaders: { Cookie: account.cookie }, logLevel: "error" });
      for (const category of Object.keys(GOALS)) scores[category].push(Math.round(lhr.categories[category].score * 100));
      audits = refused(lhr);
    } finally {
      chrome.kill();
    }
  }
  for (const list of Object.values(scores)) list.sort((a, b) => a - b);
  return { scores, audits };
}

function report(name, { scores, audits }) {
  const medians = Object.entries(scores).map(([category, list]) => [category, list[Math.floor(list.length / 2)], list]);
  console.log(`${name}: ${medians.map(([category, median, list]) => `${category} ${median} (${list.join(" ")})`).join(", ")}`);
  const low = medians.filter(([category, median]) => median < GOALS[category]);
  if (low.length > 0 || audits.length > 0) console.log(audits.map((audit) => `  ${audit}`).join("\n"));
  return low.length > 0;
}

function refused(lhr) {
  const rated = Object.values(lhr.categories).flatMap(({ auditRefs }) => auditRefs.filter(({ weight }) => weight > 0).map(({ id }) => lhr.audits[id]));
  return rated.filter(({ score }) => score !== null && score < 0.9).map(({ id, title, displayValue }) => `${id}: ${title} ${displayValue ?? ""}`);
}

// `node prove-first-visit.mjs`: measures the first visit of each kind of page with an empty cache on a slow network (400 kbit/s,
// 400 ms): requests, bytes, largest paint, layout shift. Ends with an error if a figure misses its goal.

import { Account } from "./support/account.mjs";
import { launch, PHONE } from "./support/environment.mjs";
import { Server } from "./support/server.mjs";

const RUNS = 3;
const LATENCY_MS = 400;
const BYTES_PER_SECOND = 400_000 / 8;
const REQUESTS_MAX = 12;
const PAINT_MS_MAX = 2_500;
const SHIFT_MAX = 0.01;
const TICKETS = 200;

const server = new Server();
await server.start();
const browser = await launch();
let failed = false;
try {
  const seller = await Account.signUp(server.origin, "seller");
  const buyer = await Account.signUp(server.origin, "buyer");
  await seller.listMany(
    TICKETS,
    (index) => `Rock concert, seat ${index}`,
    (index) => 20 + index,
  );
  const ticket = await seller.list("Classical concert", 100);
  const order = await buyer.lock(await seller.list("Football game", 40));
  const pages = [
    ["list", "/"],
    ["ticket", `/tickets/${ticket.id}`],
    ["sign in", "/signin"],
    ["orders", "/orders", buyer],
    ["order", `/orders/${order.id}`, buyer],
  ];
  for (const [name, path, account] of pages) {
    const visits = [];
    for (let run = 0; run < RUNS; run += 1) visits.push(await visit(path, account));
    report(name, visits);
  }
} finally {
  await browser.close();
  await server.stop();
}
process.exitCode = failed ? 1 : 0;

async function visit(path, account) {
  const context = await browser.newContext({ baseURL: server.origin, viewport: PHONE });
  if (account) await context.setExtraHTTPHeaders({ Cookie: account.cookie });
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.emulateNetworkConditions", {
    offline: false,
    latency: LATENCY_MS,
    downloadThroughput: BYTES_PER_SECOND,
    uploadThroughput: BYTES_PER_SECOND,
  });
  let requests = 0;
  let bytes = 0;
  page.on("request", () => {
    requests += 1;
  });
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
  });
  await page.addInitScript(() => {
    const figures = { paintMs: 0, shift: 0 };
    globalThis.figures = figures;
    const observe = (type, note) =>
      new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({
        type,
        buffered: true,
      });
    observe("largest-contentful-paint", ({ startTime }) => {
      figures.paintMs = Math.round(startTime);
    });
    observe("layout-shift", ({ value }) => {
      figures.shift += value;
    });
  });
  await page.goto(path);
  await page.locator("html[data-connection=live]").waitFor({ state: "attached" });
  await page.waitForLoadState("networkidle");
  const figures = await page.evaluate(() => globalThis.figures);
  await context.close();
  return { requests, bytes, ...figures };
}

function report(name, visits) {
  const median = (figure) => visits.map((visit) => visit[figure]).sort((a, b) => a - b)[1];
  const [requests, bytes, paintMs, shift] = ["requests", "bytes", "paintMs", "shift"].map(median);
  const isGood = requests <= REQUESTS_MAX && paintMs < PAINT_MS_MAX && shift <= SHIFT_MAX;
  failed ||= !isGood;
  console.log(
    `first visit of ${name}: ${requests} requests, ${(bytes / 1000).toFixed(1)} kB, largest paint ${paintMs} ms, layout shift ${shift.toFixed(3)}${isGood ? "" : " (beyond the goal)"}`,
  );
}

// The list under load: ten thousand tickets on sale, a hundred changes a second, and a page that scrolls all the time.

import { setTimeout as pause } from "node:timers/promises";
import { Account } from "./support/account.mjs";
import { launch, PHONE, watch } from "./support/environment.mjs";

export const TICKETS = 10_000;
export const CHANGES_PER_SECOND = 100;
const CHANGE_BATCHES_PER_SECOND = 10;

/**
 * Runs the load on a started server. Returns the measurements.
 * @param {object} [options]
 * @param {(line: object) => void} [options.onMinute] called with the report of each minute
 * @param {number} [options.secondsEach] length of a reported minute
 */
export async function runLoad(server, minutes, { onMinute = () => {}, secondsEach = 60 } = {}) {
  const seller = await Account.signUp(server.origin, "seller");
  await seller.listMany(
    TICKETS,
    (index) => `Open Air ${index}`,
    (index) => 10 + (index % 90),
  );
  const tickets = await seller.ask("GET", "/api/tickets?limit=1000");
  const browser = await launch();
  try {
    const page = await browser.newPage({ viewport: PHONE });
    const complaints = watch(page);
    const arrival = await measureFirstVisit(page, server.origin);
    await loadManyRows(page);
    const changes = startChanges(seller, tickets);
    const minuteReports = [];
    for (let minute = 1; minute <= minutes; minute += 1) {
      const frames = await scrollFor(page, secondsEach * 1000);
      const report = {
        minute,
        ...frames,
        heapMb: await heapMb(page),
        elements: await page.locator("*").count(),
        changes: changes.count,
      };
      minuteReports.push(report);
      onMinute(report);
    }
    await changes.stop();
    return { arrival, minutes: minuteReports, complaints, changes: changes.count };
  } finally {
    await browser.close();
  }
}

/** Measures the first visit: transferred bytes, and times of the first and largest paint. */
async function measureFirstVisit(page, origin) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  let bytes = 0;
  let requests = 0;
  session.on("Network.loadingFinished", ({ encodedDataLength }) => {
    bytes += encodedDataLength;
    requests += 1;
  });
  await page.goto(`${origin}/`);
  await page.locator(".row").first().waitFor();
  await page.waitForLoadState("networkidle");
  const paintMs = await page.evaluate(
    () => performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  );
  const listMs = await page.evaluate(
    () =>
      new Promise((done) => {
        new PerformanceObserver((list) => done(list.getEntries().at(-1).startTime)).observe({
          type: "largest-contentful-paint",
          buffered: true,
        });
      }),
  );
  await session.detach();
  return {
    kilobytes: Math.round(bytes / 102.4) / 10,
    requests,
    firstPaintMs: Math.round(paintMs),
    largestPaintMs: Math.round(listMs),
  };
}

/** Scrolls to the end several times, so that thousands of rows are loaded. */
async function loadManyRows(page) {
  const ROWS_WANTED = 2_000;
  await page.evaluate(async (wanted) => {
    const rows = () =>
      document.querySelector(".rows").offsetHeight / document.querySelector(".row").offsetHeight;
    while (rows() < wanted) {
      window.scrollTo(0, document.body.scrollHeight);
      await new Promise((next) => setTimeout(next, 30));
    }
  }, ROWS_WANTED);
}

/** Makes a hundred price changes a second until stopped. */
function startChanges(seller, tickets) {
  const state = { count: 0, running: true };
  const work = (async () => {
    while (state.running) {
      const began = Date.now();
      const batch = Array.from(
        { length: CHANGES_PER_SECOND / CHANGE_BATCHES_PER_SECOND },
        () => tickets[Math.floor(Math.random() * tickets.length)],
      );
      await Promise.all(
        batch.map(({ id, title }) =>
          seller.ask("PUT", `/api/tickets/${id}`, {
            title,
            price: (1_000 + Math.floor(Math.random() * 9_000)) / 100,
          }),
        ),
      );
      state.count += batch.length;
      await pause(Math.max(0, 1_000 / CHANGE_BATCHES_PER_SECOND - (Date.now() - began)));
    }
  })();
  return {
    get count() {
      return state.count;
    },
    stop: () => {
      state.running = false;
      return work;
    },
  };
}

/** Scrolls up and down the list. Returns frames per second and the 99th percentile of the frame durations. */
function scrollFor(page, durationMs) {
  return page.evaluate(
    (durationMs) =>
      new Promise((done) => {
        const times = [];
        const began = performance.now();
        let last = began;
        let step = 40;
        const frame = (now) => {
          times.push(now - last);
          last = now;
          if (scrollY + innerHeight >= document.body.scrollHeight - 50) step = -40;
          if (scrollY <= 0) step = 40;
          window.scrollBy(0, step);
          if (now - began < durationMs) return void requestAnimationFrame(frame);
          times.sort((a, b) => a - b);
          const at = (share) => Math.round(times[Math.floor((times.length - 1) * share)]);
          done({
            framesPerSecond: Math.round((times.length / (now - began)) * 10_000) / 10,
            medianFrameMs: at(0.5),
            p99FrameMs: at(0.99),
          });
        };
        requestAnimationFrame(frame);
      }),
    durationMs,
  );
}

async function heapMb(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("HeapProfiler.collectGarbage");
  const { usedSize } = await session.send("Runtime.getHeapUsage");
  await session.detach();
  return Math.round(usedSize / 10_000) / 100;
}

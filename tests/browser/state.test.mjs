// Requests of a page and their times: polls, new tickets, and the server's time. Runs without a browser and with fake timers.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Arrivals } from "../../web/state/arrivals.js";
import { keepFresh, pollMs } from "../../web/state/fresh.js";
import { Listing } from "../../web/state/listing.js";
import { store } from "../../web/state/store.js";

const TICKET = {
  title: "Rock Concert",
  price: 20,
  currency: "usd",
  status: "Available",
  version: 0,
};

let page; // aborts the activities of a test
let shown; // a document with the parts that these modules need

beforeEach(() => {
  page = new AbortController();
  shown = Object.assign(new EventTarget(), {
    visibilityState: "visible",
    getElementById: () => null,
  });
  globalThis.document = shown;
});

afterEach(() => {
  page.abort();
  store.setConnection("connecting");
  delete globalThis.document;
});

function setVisibility(state) {
  shown.visibilityState = state;
  shown.dispatchEvent(new Event("visibilitychange"));
}

/** Runs everything that does not wait for a timer. */
function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Timers and `performance.now()` that the test advances together. */
function fakeTime(t) {
  let nowMs = 0;
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(performance, "now", () => nowMs);
  return async (ms) => {
    for (let passed = 0; passed < ms; passed += 100) {
      nowMs += 100;
      t.mock.timers.tick(100);
      await settled();
    }
  };
}

/** Answers list requests with `tickets()`, and requests for single tickets with 404. Returns the requested paths. */
function answerWith(t, tickets) {
  const asked = [];
  t.mock.method(globalThis, "fetch", async (path) => {
    asked.push(path);
    const found = tickets(path);
    return found
      ? new Response(JSON.stringify(found))
      : new Response(JSON.stringify({ code: "not_found" }), { status: 404 });
  });
  return asked;
}

/** Keeps a page current with loads that succeed and are counted. */
function countedLoad() {
  const load = mock.fn(async () => {});
  keepFresh(load, assert.fail, page.signal);
  return load;
}

test("page polls without a connection and does not poll with one", async (t) => {
  const advance = fakeTime(t);
  const load = countedLoad();
  await advance(60_000);
  assert.equal(load.mock.callCount(), 1, "no poll while the page connects");
  store.setConnection("lost");
  await advance(30_000);
  assert.ok(
    load.mock.callCount() >= 5 && load.mock.callCount() <= 12,
    `${load.mock.callCount()} loads in 30 s`,
  );
  assert.equal(store.polling, true);
  store.setConnection("live");
  const before = load.mock.callCount();
  await advance(60_000);
  assert.equal(load.mock.callCount(), before);
  assert.equal(store.polling, null);
});

test("hidden page does not poll, and polls again when it is shown", async (t) => {
  const advance = fakeTime(t);
  const load = countedLoad();
  store.setConnection("lost");
  await advance(3_000);
  setVisibility("hidden");
  const before = load.mock.callCount();
  await advance(300_000);
  assert.equal(load.mock.callCount(), before);
  setVisibility("visible");
  await advance(1_500);
  assert.equal(load.mock.callCount(), before + 1);
});

test("page does not poll after navigation away from it", async (t) => {
  const advance = fakeTime(t);
  const load = countedLoad();
  store.setConnection("lost");
  await advance(3_000);
  page.abort();
  const before = load.mock.callCount();
  await advance(60_000);
  assert.equal(load.mock.callCount(), before);
  assert.equal(store.polling, null, "no page polls after navigation");
});

test("failed polls have growing intervals and respect Retry-After", async (t) => {
  const advance = fakeTime(t);
  let loads = 0;
  const broken = Object.assign(new Error("no answer"), { isOutcomeUnknown: true });
  const load = async () => {
    loads += 1;
    throw broken;
  };
  keepFresh(load, () => {}, page.signal);
  store.setConnection("lost");
  await advance(300_000);
  assert.ok(loads >= 5 && loads <= 14, `${loads} loads in 300 s`);
  assert.equal(store.polling, false);
  assert.equal(pollMs(0, 120), 120_000);
  assert.ok(pollMs(20, null, 0.999) < 80_000);
  assert.ok(
    pollMs(0, null, 0) !== pollMs(0, null, 0.5),
    "polls of many pages are at different times",
  );
});

test("load requested during another load begins after it", async () => {
  const ended = [];
  let end;
  const load = () => new Promise((resolve) => (end = resolve));
  const reload = keepFresh(load, assert.fail, page.signal);
  const first = end;
  const again = reload().then(() => ended.push("again"));
  const shared = reload().then(() => ended.push("shared"));
  first();
  await settled();
  assert.deepEqual(ended, [], "the first load began before the call");
  assert.notEqual(end, first);
  end();
  await Promise.all([again, shared]);
  assert.equal(ended.length, 2);
});

/** Returns a list of 20 loaded pages with 50 tickets each. */
async function longListing(t) {
  const pageOf = (number) =>
    Array.from({ length: 50 }, (_, index) => ({
      ...TICKET,
      id: `t${String(9_999 - number * 50 - index)}`,
    }));
  const asked = [];
  const gone = new Set();
  t.mock.method(globalThis, "fetch", async (path) => {
    asked.push(path);
    if (path.startsWith("/api/tickets/"))
      return new Response(JSON.stringify({ code: "not_found" }), { status: 404 });
    const number = Number(/cursor=(\d+)/.exec(path)?.[1] ?? 0);
    const tickets = pageOf(number).filter(({ id }) => !gone.has(id));
    const next = number < 19 ? { Link: `</api/tickets?cursor=${number + 1}>; rel="next"` } : {};
    return new Response(JSON.stringify(tickets), { headers: next });
  });
  const listing = new Listing(new URLSearchParams());
  await listing.load();
  while (listing.next) await listing.more();
  assert.equal(listing.ids.length, 1_000);
  asked.length = 0;
  return { listing, asked, gone };
}

test("poll of a long list requests the first page and the pages in view", async (t) => {
  const { listing, asked, gone } = await longListing(t);
  await listing.poll(listing.ids.slice(445, 465));
  assert.deepEqual(asked, [
    "/api/tickets?limit=50",
    "/api/tickets?cursor=8",
    "/api/tickets?cursor=9",
  ]);
  asked.length = 0;
  const lost = listing.ids[450];
  gone.add(lost);
  await listing.poll(listing.ids.slice(445, 465));
  assert.equal(asked.at(-1), `/api/tickets/${lost}`);
  assert.equal(store.ticket(lost).gone, true);
  asked.length = 0;
  for (const id of listing.ids) gone.add(id);
  await listing.poll(listing.ids);
  assert.ok(asked.length <= 14, `${asked.length} requests`);
});

test("one request decides for many new tickets whether they match the search", async (t) => {
  const advance = fakeTime(t);
  const matching = ["t5", "t3"].map((id) => ({ ...TICKET, id }));
  const asked = answerWith(t, () => matching);
  const found = [];
  const arrivals = new Arrivals(
    new URLSearchParams("q=rock&sort=price"),
    (tickets) => found.push(...tickets.map(({ id }) => id)),
    page.signal,
  );
  for (const id of ["t1", "t2", "t3", "t4", "t5"]) arrivals.add(id);
  await advance(300);
  assert.deepEqual(asked, ["/api/tickets?q=rock&limit=100"]);
  assert.deepEqual(found, ["t5", "t3"]);
  await advance(60_000);
  assert.equal(
    asked.length,
    2,
    "the other tickets are requested once more after the maximum delay of the list",
  );
  assert.deepEqual(found, ["t5", "t3"]);
});

test("new ticket that the first response lacks is found by a second request", async (t) => {
  const advance = fakeTime(t);
  let listed = [];
  answerWith(t, () => listed);
  const found = [];
  const arrivals = new Arrivals(
    new URLSearchParams("q=rock"),
    (all) => found.push(...all),
    page.signal,
  );
  arrivals.add("t1");
  await advance(500);
  listed = [{ ...TICKET, id: "t1" }];
  await advance(2_000);
  assert.deepEqual(
    found.map(({ id }) => id),
    ["t1"],
  );
});

test("requests about new tickets are bounded for any number of tickets, and a hidden page sends none", async (t) => {
  const advance = fakeTime(t);
  const asked = answerWith(t, () => []);
  const arrivals = new Arrivals(new URLSearchParams("q=rock"), assert.fail, page.signal);
  for (let seconds = 0; seconds < 120; seconds += 1) {
    for (let index = 0; index < 50; index += 1) arrivals.add(`t${seconds}-${index}`);
    await advance(1_000);
  }
  assert.ok(asked.length >= 5 && asked.length <= 20, `${asked.length} requests in 120 s`);
  shown.visibilityState = "hidden";
  await advance(20_000);
  asked.length = 0;
  arrivals.add("hidden");
  await advance(60_000);
  assert.equal(asked.length, 0);
  setVisibility("visible");
  await advance(20_000);
  assert.ok(asked.length >= 1);
});

/** Loads a fresh instance of the clock module, as for a new page. */
let clocks = 0;
function newClock() {
  clocks += 1;
  return import(`../../web/core/clock.js?${clocks}`);
}

test("clock follows the monotonic time of the page and is corrected after a sleep", async (t) => {
  let runMs = 1_000;
  t.mock.method(performance, "now", () => runMs);
  const { now, observe } = await newClock();
  observe(5_000_000, { isFirst: true });
  runMs += 2_000;
  assert.equal(now(), 5_002_000);
  observe(5_001_000); // this time had a long network delay
  assert.equal(now(), 5_002_000);
  // The device sleeps for a minute. Then a response arrives with a Date header in whole seconds.
  observe(5_062_000, { rough: true });
  assert.equal(now(), 5_062_000);
  observe(5_062_300);
  assert.equal(now(), 5_062_300);
  observe(5_062_000, { rough: true });
  assert.equal(now(), 5_062_300, "a rough time does not replace an exact time");
});

test("clock is unchanged when the device's clock is set", async (t) => {
  const { now, observe } = await newClock();
  observe(5_000_000, { isFirst: true });
  const before = now();
  t.mock.method(Date, "now", () => 0);
  assert.ok(Math.abs(now() - before) < 60_000);
});

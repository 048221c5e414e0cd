// Unit tests of the pages' logic, without a browser.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { digest } from "../../web/core/digest.js";
import { forget, forgetAll, keep, keepFor, kept } from "../../web/core/kept.js";
import { nextPage, Problem, request } from "../../web/net/api.js";
import { backoffMs } from "../../web/net/backoff.js";
import { once } from "../../web/net/once.js";
import { Listing } from "../../web/state/listing.js";
import { store as pageStore, Store } from "../../web/state/store.js";
import { countdown, money, spoken } from "../../web/words/format.js";
import { paymentLimitText, refusalText } from "../../web/words/refusals.js";

/** Web storage as browsers implement it. `fault` is called before each use and may throw. */
class FakeStorage {
  entries = new Map();
  fault = () => {};

  get length() {
    this.fault("length");
    return this.entries.size;
  }

  key(index) {
    this.fault("key");
    return [...this.entries.keys()][index] ?? null;
  }

  getItem(name) {
    this.fault("getItem");
    return this.entries.get(name) ?? null;
  }

  setItem(name, value) {
    this.fault("setItem");
    this.entries.set(name, value);
  }

  removeItem(name) {
    this.fault("removeItem");
    this.entries.delete(name);
  }
}

/** Sets `sessionStorage` until the test ends. */
function storageOf(get) {
  Object.defineProperty(globalThis, "sessionStorage", { configurable: true, get });
}

/** Sends these responses in order and repeats the last one. Returns the requests. */
function answers(t, ...responses) {
  const asked = [];
  t.mock.method(globalThis, "fetch", async (path, { method, headers }) => {
    const [status, body] = responses[Math.min(asked.length, responses.length - 1)];
    asked.push({ path, method, headers });
    if (status === 0) throw new TypeError("Failed to fetch");
    return new Response(JSON.stringify(body), { status });
  });
  return asked;
}

afterEach(() => {
  forgetAll();
  pageStore.setUser(null);
  keepFor(null);
  delete globalThis.sessionStorage;
});

const TICKET = {
  id: "t1",
  title: "Rock Concert",
  price: 20,
  currency: "usd",
  status: "Available",
  version: 3,
};

test("frame that arrives before its snapshot is not overwritten by it", () => {
  const store = new Store();
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 5, price: 25 } });
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").price, 25);
});

test("repeated or late frame changes nothing", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  let calls = 0;
  store.watch("ticket:t1", () => (calls += 1));
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 4, price: 30 } });
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 4, price: 30 } });
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 2, price: 10 } });
  assert.equal(store.ticket("t1").price, 30);
  assert.equal(calls, 1);
});

test("older snapshot does not restore a ticket taken off sale", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  store.apply({ type: "TicketDeleted", ticketId: "t1", version: 4 });
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").gone, true);
});

test("ticket missing from one snapshot is restored by a later one", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  store.markMissing("t1");
  assert.equal(store.ticket("t1").gone, true);
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").gone, undefined);
});

test("tickets of frames that no page requested are not stored", () => {
  const store = new Store();
  for (let index = 0; index < 50_000; index += 1)
    store.apply({ type: "TicketUpdated", ticket: { ...TICKET, id: `x${index}` } });
  assert.equal(store.ticket("x49999"), undefined);
});

test("aborted signal removes its listener", () => {
  const store = new Store();
  const page = new AbortController();
  let calls = 0;
  store.watch("created", () => (calls += 1), page.signal);
  store.apply({ type: "TicketCreated", ticket: { ...TICKET, id: "a" } });
  page.abort();
  store.apply({ type: "TicketCreated", ticket: { ...TICKET, id: "b" } });
  assert.equal(calls, 1);
});

test("client secret of a charge is kept over frames and removed when the charge ends", () => {
  const store = new Store();
  const charge = {
    id: "c1",
    orderId: "o1",
    status: "Created",
    updatedAt: "2026-01-01T00:00:00.000Z",
  };
  store.putCharges([{ ...charge, clientSecret: "secret" }]);
  store.apply({ type: "ChargeCreated", charge });
  assert.equal(store.charges("o1")[0].clientSecret, "secret");
  store.apply({
    type: "ChargeCompleted",
    charge: { ...charge, status: "Completed", updatedAt: "2026-01-01T00:00:01.000Z" },
  });
  assert.equal(store.charges("o1")[0].clientSecret, undefined);
});

test("private data is removed when another user signs in", () => {
  const store = new Store();
  store.setUser({ id: "u1", email: "a@example.com" });
  store.putOrders([{ id: "o1", userId: "u1", version: 0 }]);
  assert.equal(store.orders().length, 1);
  store.setUser(null);
  assert.deepEqual(store.orders(), []);
});

test("empty page before the last one is skipped", async (context) => {
  const pages = {
    "/api/tickets?q=rare&limit=50": [[], "/p2"],
    "/p2": [[], "/p3"],
    "/p3": [[TICKET], "/p4"],
    "/p4": [[], "/p5"],
    "/p5": [[], null],
  };
  const asked = [];
  context.mock.method(globalThis, "fetch", async (path) => {
    asked.push(path);
    const [tickets, next] = pages[path];
    return new Response(JSON.stringify(tickets), {
      headers: next ? { Link: `<${next}>; rel="next"` } : {},
    });
  });
  const listing = new Listing(new URLSearchParams("q=rare"));
  await listing.load();
  assert.deepEqual([listing.ids, listing.next], [["t1"], "/p4"]);
  await listing.more();
  assert.deepEqual([listing.ids, listing.next], [["t1"], null]);
  assert.deepEqual(asked, Object.keys(pages));
});

test("back-off grows with jitter between a minimum and a maximum", () => {
  assert.equal(backoffMs(1, 0), 200);
  assert.ok(backoffMs(1, 0.999) <= 600);
  assert.ok(backoffMs(30, 0.999) <= 15_000);
  assert.ok(backoffMs(4, 0.5) > backoffMs(2, 0.5));
});

test("next page is read from the Link header", () => {
  assert.equal(
    nextPage('</api/tickets?cursor=abc&limit=50>; rel="next"'),
    "/api/tickets?cursor=abc&limit=50",
  );
  assert.equal(
    nextPage('<http://localhost/api/tickets?cursor=x>; rel="next"'),
    "/api/tickets?cursor=x",
  );
  assert.equal(nextPage(null), null);
});

test("times, prices and counts are formatted for readers", () => {
  assert.equal(countdown(65), "1:05");
  assert.equal(countdown(3_600), "1:00:00");
  assert.equal(spoken(61), "1 minute 1 second");
  assert.equal(spoken(0), "0 seconds");
  assert.match(money(20, "usd"), /20$/);
  assert.match(money(19.9, "usd"), /19[.,]90/);
});

/** Error codes that a page can receive. Codes for faulty requests of programs are not included. */
const CODES = [
  "validation_failed",
  "not_signed_in",
  "invalid_credentials",
  "card_declined",
  "not_owner",
  "own_ticket",
  "cross_origin",
  "not_found",
  "email_in_use",
  "ticket_locked",
  "ticket_sold",
  "price_changed",
  "order_expired",
  "order_not_payable",
  "order_completed",
  "other_user",
  "ticket_changed",
  "too_many_listings",
  "payment_in_flight",
  "idempotency_in_flight",
  "version_mismatch",
  "body_too_large",
  "too_many_requests",
  "too_many_locks",
  "unavailable",
  "outcome_unknown",
];

test("every refusal has its own text", () => {
  const unknown = refusalText(new Problem({ code: "unknown_code" })).what;
  for (const code of CODES)
    assert.notEqual(refusalText(new Problem({ status: 409, code })).what, unknown, code);
});

test("digest of a text is its 64-bit FNV-1a hash", () => {
  assert.equal(digest(""), "cbf29ce484222325");
  assert.equal(digest("a"), "af63dc4c8601ec8c");
  assert.equal(digest("foobar"), "85944171f73967e8");
});

test("values of a user are removed from memory and storage when another user signs in", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  storage.setItem("intent:PUT /api/users/currentuser {password}", "left by an earlier version");
  storage.setItem("other", "not ours");
  keepFor("ann");
  keep("draft:new-ticket", "typed by Ann");
  assert.deepEqual([...storage.entries.keys()].sort(), ["draft:new-ticket", "other", "owner"]);
  keepFor("bob");
  assert.equal(kept("draft:new-ticket"), null);
  assert.deepEqual(
    [...storage.entries],
    [
      ["other", "not ours"],
      ["owner", "bob"],
    ],
  );
});

test("stored copies of another user are removed at a reload", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  storage.setItem("owner", "dan");
  storage.setItem("draft:new-ticket", "typed by Dan");
  keepFor("erin");
  assert.equal(kept("draft:new-ticket"), null);
  assert.equal(storage.getItem("draft:new-ticket"), null);
});

test("stored copies of the same user are read after a reload", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  storage.setItem("owner", "carol");
  storage.setItem("draft:new-ticket", "typed by Carol");
  keepFor("carol");
  assert.equal(kept("draft:new-ticket"), "typed by Carol");
});

test("end of a session removes the copies from storage and keeps the values for its user", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  keepFor("ann");
  keep("draft:new-ticket", "typed");
  keepFor(null);
  keep("draft:new-ticket", "typed on");
  assert.equal(storage.entries.size, 0);
  keepFor("ann");
  assert.equal(kept("draft:new-ticket"), "typed on");
  assert.equal(storage.getItem("draft:new-ticket"), "typed on");
});

test("sign-out removes values from memory and from storage", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  keepFor("ann");
  keep("draft:new-ticket", "typed");
  forgetAll();
  keepFor("ann");
  assert.equal(kept("draft:new-ticket"), null);
  assert.equal(storage.getItem("draft:new-ticket"), null);
});

test("secret value is not copied to storage", () => {
  const storage = new FakeStorage();
  storageOf(() => storage);
  keepFor("ann");
  keep("intent:1", "key", { secret: true });
  keepFor(null);
  keepFor("ann");
  assert.equal(kept("intent:1"), "key");
  assert.equal(storage.getItem("intent:1"), null);
});

const BROKEN = {
  missing: () => null,
  forbidden: () => {
    throw new Error("SecurityError");
  },
  full: () =>
    Object.assign(new FakeStorage(), {
      fault: (use) => {
        if (use === "setItem") throw new Error("QuotaExceededError");
      },
    }),
  failing: () =>
    Object.assign(new FakeStorage(), {
      fault: () => {
        throw new Error("InvalidStateError");
      },
    }),
};

for (const [name, get] of Object.entries(BROKEN)) {
  test(`values are kept in memory while storage is ${name}`, () => {
    storageOf(get);
    keepFor("ann");
    keep("draft:a", "one");
    keep("draft:b", "two");
    forget("draft:b");
    assert.deepEqual([kept("draft:a"), kept("draft:b")], ["one", null]);
    forgetAll();
    keepFor(null);
    assert.equal(kept("draft:a"), null);
  });
}

test("unsafe request names the user shown on the page, and a safe request names none", async (t) => {
  const asked = answers(t, [200, {}]);
  pageStore.setUser({ id: "ann", email: "ann@example.com" });
  await request("GET", "/api/orders");
  await request("POST", "/api/users/signin", { body: {} });
  await request("POST", "/api/users/signup", { body: {} });
  await request("POST", "/api/users/signout", { body: {} });
  await request("DELETE", "/api/tickets/t1");
  await request("POST", "/api/orders", { body: {} });
  assert.deepEqual(
    asked.map(({ headers }) => headers["GitTix-User"]),
    [undefined, undefined, undefined, "ann", "ann", "ann"],
  );
});

test("request of a signed-out page names no user", async (t) => {
  const asked = answers(t, [200, {}]);
  await request("POST", "/api/orders", { body: {} });
  assert.equal(asked[0].headers["GitTix-User"], undefined);
});

test("retry names the original user after another user has signed in", async (t) => {
  const asked = answers(t, [0], [409, { code: "other_user" }]);
  pageStore.setUser({ id: "ann", email: "ann@example.com" });
  const sending = once("POST", "/api/orders", { ticketId: "t1" });
  pageStore.setUser({ id: "bob", email: "bob@example.com" });
  await assert.rejects(sending, { code: "other_user" });
  assert.deepEqual(
    asked.map(({ headers }) => headers["GitTix-User"]),
    ["ann", "ann"],
  );
});

test("identical requests of two users share neither the request nor its key", async (t) => {
  const asked = answers(t, [409, { code: "ticket_locked" }]);
  const ask = (id) => {
    pageStore.setUser({ id, email: `${id}@example.com` });
    return assert.rejects(once("POST", "/api/orders", { ticketId: "t1" }), {
      code: "ticket_locked",
    });
  };
  await Promise.all([ask("ann"), ask("bob")]);
  assert.deepEqual(
    asked.map(({ headers }) => headers["GitTix-User"]),
    ["ann", "bob"],
  );
  assert.notEqual(asked[0].headers["Idempotency-Key"], asked[1].headers["Idempotency-Key"]);
});

test("key used with another body is replaced once", async (t) => {
  const asked = answers(t, [422, { code: "idempotency_key_reused" }], [201, { id: "o1" }]);
  pageStore.setUser({ id: "ann", email: "ann@example.com" });
  keepFor("ann");
  const body = { ticketId: "t1" };
  const name = `intent:${digest(JSON.stringify(["ann", "POST", "/api/orders", null, body]))}`;
  keep(name, "key of another operation");
  const { data } = await once("POST", "/api/orders", body);
  const keys = asked.map(({ headers }) => headers["Idempotency-Key"]);
  assert.equal(data.id, "o1");
  assert.equal(keys[0], "key of another operation");
  assert.match(keys[1], /^[0-9a-f]{32}$/);
  assert.equal(kept(name), null);
});

test("key refused twice is not replaced again", async (t) => {
  const asked = answers(t, [422, { code: "idempotency_key_reused" }]);
  await assert.rejects(once("POST", "/api/orders", { ticketId: "t1" }), {
    code: "idempotency_key_reused",
  });
  assert.equal(asked.length, 2);
});

test("key is kept after a refusal that does not reveal the outcome of an earlier attempt", async (t) => {
  const asked = answers(
    t,
    [401, { code: "not_signed_in" }],
    [429, { code: "too_many_requests" }],
    [403, { code: "own_ticket" }],
    [403, { code: "own_ticket" }],
  );
  const ask = () => assert.rejects(once("POST", "/api/orders", { ticketId: "t1" }));
  for (let times = 0; times < 4; times += 1) await ask();
  const keys = asked.map(({ headers }) => headers["Idempotency-Key"]);
  assert.equal(new Set(keys.slice(0, 3)).size, 1);
  assert.notEqual(keys[3], keys[2]);
});

test("orders of another user are ignored and trigger a check of the session", () => {
  const store = new Store();
  const foreign = [];
  store.setUser({ id: "ann", email: "ann@example.com" });
  store.watch("otherUser", (userId) => foreign.push(userId));
  store.putOrders([{ id: "o1", userId: "bob", version: 0 }]);
  store.apply({ type: "UserUpdated", user: { id: "bob", email: "bob2@example.com" } });
  assert.deepEqual([store.orders(), store.user.id, foreign], [[], "ann", ["bob", "bob"]]);
});

test("text for the limit of declined payments names the buyer's remaining options", () => {
  const problem = new Problem({ status: 429, code: "too_many_requests", retryAfterSeconds: 600 });
  assert.match(paymentLimitText(problem, 700).advice, /Try again in 10 minutes/);
  assert.match(paymentLimitText(problem, 600).advice, /can no longer be paid/);
  assert.match(
    refusalText(new Problem({ status: 429, code: "too_many_requests", retryAfterSeconds: 86_400 }))
      .advice,
    /24 hours/,
  );
});

test("refused field shows the reason", () => {
  const said = (field, message) =>
    refusalText(
      new Problem({ status: 400, code: "validation_failed", errors: [{ field, message }] }),
    ).fields[field];
  assert.equal(
    said("password", "must have 8 to 128 characters"),
    "Choose a password of 8 to 128 characters.",
  );
  assert.equal(
    said("password", "is one of the 10,000 most common passwords; choose another one"),
    "This password is one of the 10,000 most common passwords; choose another one.",
  );
  assert.equal(said("title", "must not be empty"), "Enter a title of 1 to 200 characters.");
  assert.equal(
    said("title", "must contain at least one visible character"),
    "The title must contain at least one visible character.",
  );
  assert.equal(
    said("price", "is required"),
    "Enter an amount from 0.50 to 999,999.99, such as 20 or 19.99.",
  );
  assert.equal(
    said("email", "must be an email address, such as ann@example.com"),
    "Enter an email address, such as ann@example.com.",
  );
  assert.equal(
    said("email", "must have at most 254 characters"),
    "The email address must have at most 254 characters.",
  );
  assert.equal(said("limit", "must be a number"), "The limit must be a number.");
});

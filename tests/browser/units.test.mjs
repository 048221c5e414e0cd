// The parts of the pages that decide something, without a browser.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { nextPage } from "../../web/net/api.js";
import { backoffMs } from "../../web/net/backoff.js";
import { Listing, matches } from "../../web/state/listing.js";
import { Store } from "../../web/state/store.js";
import { countdown, money, spoken, typedPrice } from "../../web/words/format.js";
import { inWords } from "../../web/words/refusals.js";
import { Problem } from "../../web/net/api.js";

const TICKET = { id: "t1", title: "Rock Concert", price: 20, currency: "usd", status: "Available", version: 3 };

test("a frame that came before its snapshot is not undone by it", () => {
  const store = new Store();
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 5, price: 25 } });
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").price, 25);
});

test("a frame that comes twice, or late, changes nothing", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  let heard = 0;
  store.watch("ticket:t1", () => (heard += 1));
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 4, price: 30 } });
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 4, price: 30 } });
  store.apply({ type: "TicketUpdated", ticket: { ...TICKET, version: 2, price: 10 } });
  assert.equal(store.ticket("t1").price, 30);
  assert.equal(heard, 1);
});

test("a ticket taken off sale is not revived by an older snapshot", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  store.apply({ type: "TicketDeleted", ticketId: "t1", version: 4 });
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").gone, true);
});

test("a ticket that a snapshot lacked comes back with one that has it", () => {
  const store = new Store();
  store.putTickets([TICKET]);
  store.loseTicket("t1");
  assert.equal(store.ticket("t1").gone, true);
  store.putTickets([TICKET]);
  assert.equal(store.ticket("t1").gone, undefined);
});

test("tickets that no page asked for are remembered in bounded number, and not kept", () => {
  const store = new Store();
  for (let index = 0; index < 50_000; index += 1) store.apply({ type: "TicketUpdated", ticket: { ...TICKET, id: `x${index}` } });
  assert.equal(store.ticket("x49999"), undefined);
});

test("a listener is gone with its signal", () => {
  const store = new Store();
  const page = new AbortController();
  let heard = 0;
  store.watch("created", () => (heard += 1), page.signal);
  store.apply({ type: "TicketCreated", ticket: { ...TICKET, id: "a" } });
  page.abort();
  store.apply({ type: "TicketCreated", ticket: { ...TICKET, id: "b" } });
  assert.equal(heard, 1);
});

test("the client secret of a charge survives the frames, and ends with the charge", () => {
  const store = new Store();
  const charge = { id: "c1", orderId: "o1", status: "Created", updatedAt: "2026-01-01T00:00:00.000Z" };
  store.putCharges([{ ...charge, clientSecret: "secret" }]);
  store.apply({ type: "ChargeCreated", charge });
  assert.equal(store.charges("o1")[0].clientSecret, "secret");
  store.apply({ type: "ChargeCompleted", charge: { ...charge, status: "Completed", updatedAt: "2026-01-01T00:00:01.000Z" } });
  assert.equal(store.charges("o1")[0].clientSecret, undefined);
});

test("what was private is forgotten when somebody else signs in", () => {
  const store = new Store();
  store.setUser({ id: "u1", email: "a@example.com" });
  store.putOrders([{ id: "o1", version: 0 }]);
  store.setUser(null);
  assert.deepEqual(store.orders(), []);
});

test("a new ticket belongs into a search by the beginnings of words, as the server says", async () => {
  const cases = JSON.parse(await readFile(new URL("../search.json", import.meta.url), "utf8"));
  for (const { title, q, found } of cases) assert.equal(matches(new URLSearchParams({ q }), { title, price: 20 }), found, `${q} in ${title}`);
  assert.ok(cases.length > 30);
});

test("a page without tickets that is not the last one is skipped", async (context) => {
  const pages = { "/api/tickets?q=rare&limit=50": [[], "/p2"], "/p2": [[], "/p3"], "/p3": [[TICKET], "/p4"], "/p4": [[], "/p5"], "/p5": [[], null] };
  const asked = [];
  context.mock.method(globalThis, "fetch", async (path) => {
    asked.push(path);
    const [tickets, next] = pages[path];
    return new Response(JSON.stringify(tickets), { headers: next ? { Link: `<${next}>; rel="next"` } : {} });
  });
  const listing = new Listing(new URLSearchParams("q=rare"));
  await listing.load();
  assert.deepEqual([listing.ids, listing.next], [["t1"], "/p4"]);
  await listing.more();
  assert.deepEqual([listing.ids, listing.next], [["t1"], null]);
  assert.deepEqual(asked, Object.keys(pages));
});

test("a new ticket belongs into a search in any case, any order, and within the prices", () => {
  const concert = { title: "Rock-Concert, Tonight", price: 20 };
  assert.ok(matches(new URLSearchParams("q=concert rock"), concert));
  assert.ok(matches(new URLSearchParams("q=conc"), concert));
  assert.ok(!matches(new URLSearchParams("q=oncert"), concert));
  assert.ok(matches(new URLSearchParams("minPrice=20&maxPrice=20"), concert));
  assert.ok(!matches(new URLSearchParams("minPrice=20.01"), concert));
});

test("the back-off grows, is jittered, and has a floor and a ceiling", () => {
  assert.equal(backoffMs(1, 0), 200);
  assert.ok(backoffMs(1, 0.999) <= 600);
  assert.ok(backoffMs(30, 0.999) <= 15_000);
  assert.ok(backoffMs(4, 0.5) > backoffMs(2, 0.5));
});

test("the next page is read from a Link header", () => {
  assert.equal(nextPage('</api/tickets?cursor=abc&limit=50>; rel="next"'), "/api/tickets?cursor=abc&limit=50");
  assert.equal(nextPage('<http://localhost/api/tickets?cursor=x>; rel="next"'), "/api/tickets?cursor=x");
  assert.equal(nextPage(null), null);
});

test("times, prices and counts are written as people read them", () => {
  assert.equal(countdown(65), "1:05");
  assert.equal(countdown(3_600), "1:00:00");
  assert.equal(spoken(61), "1 minute 1 second");
  assert.equal(spoken(0), "0 seconds");
  assert.match(money(20, "usd"), /20$/);
  assert.match(money(19.9, "usd"), /19[.,]90/);
});

test("a decimal comma becomes a point, everything else is left to the server", () => {
  assert.equal(typedPrice(" 19,99 "), "19.99");
  assert.equal(typedPrice("1,234"), "1,234");
  assert.equal(typedPrice("-5"), "-5");
});

/** Every code of the interface that a page can meet; those of wrong requests by programs are not among them. */
const CODES = ["validation_failed", "not_signed_in", "invalid_credentials", "card_declined", "not_owner", "own_ticket", "cross_origin", "not_found", "email_in_use", "ticket_locked", "ticket_sold", "price_changed", "order_expired", "order_not_payable", "order_completed", "payment_in_flight", "idempotency_in_flight", "version_mismatch", "body_too_large", "too_many_requests", "too_many_locks", "unavailable", "outcome_unknown"];

test("every refusal has words of its own", () => {
  const unknown = inWords(new Problem({ code: "never heard of" })).what;
  for (const code of CODES) assert.notEqual(inWords(new Problem({ status: 409, code })).what, unknown, code);
});

// A list of tickets in pages: ids, their order, and the path of the next page. The tickets themselves are in the store. The
// order is the server's at the time of the request. A changed row stays in its position, and new tickets are only counted until
// the user shows them, so that no row moves while the user clicks it. Only the server decides which tickets match.

import { Problem, request } from "../net/api.js";
import { live } from "./live.js";
import { store } from "./store.js";

export const PAGE_SIZE = 50;
/** The server's maximum, for requests that load many rows again. */
const PAGE_SIZE_MAX = 1_000;
/** Maximum number of empty pages to skip. A request examines a bounded number of tickets, so any page may be empty. */
const EMPTY_PAGES_MAX = 20;
/** Limits of one poll: pages of the list, and tickets that these pages lack. */
const PAGES_POLLED_MAX = 4;
const TICKETS_POLLED_MAX = 10;

export class Listing {
  /** @param {URLSearchParams} query filters and order, as in the API */
  constructor(query) {
    this.query = new URLSearchParams(query);
    /** @type {string[]} */
    this.ids = [];
    /** @type {string | null} */
    this.next = null;
    this.pending = new Set();
    this.loaded = false;
    this.epoch = -1;
  }

  /** @type {{ path: string, ids: string[] }[]} */
  #pages = []; // the loaded pages, in order
  #known = new Set();
  /** @type {Promise<void> | null} */
  #running = null;

  /** Whether the list contains every ticket on sale. */
  get isUnfiltered() {
    return [...this.query.keys()].every((name) => name === "sort");
  }

  /** Replaces the list by its first page, with at least `rows` tickets if it has them. @throws {Problem} */
  async load(signal, rows = PAGE_SIZE) {
    const epoch = live.epoch;
    const size = Math.min(PAGE_SIZE_MAX, Math.max(PAGE_SIZE, rows));
    const page = await pageWithTickets(this.#path(size), signal);
    this.ids = [];
    this.#pages = [];
    this.#known.clear();
    this.pending.clear();
    this.#append(page);
    this.loaded = true;
    this.epoch = epoch;
  }

  /** Appends the next page. Does nothing at the end of the list; shares a request in flight. @throws {Problem} */
  more(signal) {
    if (!this.next) return Promise.resolve();
    this.#running ??= pageWithTickets(this.next, signal)
      .then((page) => this.#append(page))
      .finally(() => (this.#running = null));
    return this.#running;
  }

  /**
   * Loads again everything that is shown, because changes may have been missed. Rows are updated in their positions, missing
   * tickets are marked, and new tickets are counted. @throws {Problem}
   */
  async verify(signal) {
    const epoch = live.epoch;
    const size = Math.min(PAGE_SIZE_MAX, Math.max(PAGE_SIZE, this.ids.length));
    const seen = new Set();
    let path = /** @type {string | null} */ (this.#path(size));
    let last = "";
    for (let pages = Math.ceil(this.ids.length / size) + 1; path && pages > 0; pages -= 1) {
      const { data, next } = await pageWithTickets(path, signal);
      store.putTickets(data);
      for (const { id } of data) seen.add(id);
      last = data.at(-1)?.id ?? last;
      path = next;
      if (this.ids.every((id) => seen.has(id))) break;
    }
    const byAge = !this.query.has("sort");
    for (const id of this.ids)
      if (!seen.has(id) && (path === null || (byAge && id > last))) store.markMissing(id);
    this.#countNewer(seen);
    this.epoch = epoch;
  }

  /**
   * Loads the first page and the rows near the window again, in a bounded number of requests. A ticket that its page lacks is
   * requested by its id. @throws {Problem}
   */
  async poll(idsInView, signal) {
    const inView = new Set(idsInView);
    const [first, ...others] = this.#pages;
    const pages = [first, ...others.filter(({ ids }) => ids.some((id) => inView.has(id)))];
    const seen = new Set();
    for (const { path } of pages.slice(0, PAGES_POLLED_MAX)) {
      const { data } = await request("GET", path, { signal });
      store.putTickets(data);
      for (const { id } of data) seen.add(id);
    }
    this.#countNewer(seen);
    const missing = [...inView].filter((id) => !seen.has(id) && isOnSale(store.ticket(id)));
    await Promise.all(missing.slice(0, TICKETS_POLLED_MAX).map((id) => lookUp(id, signal)));
  }

  /** Counts tickets that were listed since. @returns whether one of them is new to the list */
  count(ids) {
    const before = this.pending.size;
    for (const id of ids) if (!this.#known.has(id)) this.pending.add(id);
    return this.pending.size > before;
  }

  /** Shows the counted tickets at the top without a request. The tickets must be in the store. */
  showCounted() {
    this.ids = [...[...this.pending].sort().reverse(), ...this.ids];
    for (const id of this.pending) this.#known.add(id);
    this.pending.clear();
  }

  #append({ path, data, next }) {
    store.putTickets(data);
    const ids = data.map(({ id }) => id).filter((id) => !this.#known.has(id));
    for (const id of ids) {
      this.#known.add(id);
      this.pending.delete(id);
    }
    this.ids.push(...ids);
    this.#pages.push({ path, ids });
    this.next = next;
  }

  /** Counts the tickets that are newer than the newest row. Ids ascend with time. */
  #countNewer(seen) {
    const newest = [...this.ids].sort().at(-1) ?? "";
    this.count([...seen].filter((id) => id > newest));
  }

  #path(limit) {
    const query = new URLSearchParams(this.query);
    query.set("limit", limit);
    return `/api/tickets?${query}`;
  }
}

/** Returns the first page from `path` on that has tickets, or the last one, with its path. */
async function pageWithTickets(path, signal) {
  let page = await request("GET", path, { signal });
  let at = path;
  for (let pages = 1; page.data.length === 0 && page.next && pages < EMPTY_PAGES_MAX; pages += 1) {
    at = page.next;
    page = await request("GET", at, { signal });
  }
  return { path: at, data: page.data, next: page.next };
}

/** Loads one ticket that its list lacks: it was sold or taken off sale, or newer tickets moved it to a later page. */
async function lookUp(id, signal) {
  try {
    store.putTickets([(await request("GET", `/api/tickets/${id}`, { signal })).data]);
  } catch (problem) {
    if (!(problem instanceof Problem && problem.code === "not_found")) throw problem;
    store.markMissing(id);
  }
}

function isOnSale(ticket) {
  return ticket !== undefined && !ticket.gone && ticket.status !== "Sold";
}

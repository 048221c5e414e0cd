// A list of tickets as the server pages it: which ids, in which order, and what to ask for next. The tickets themselves are
// in the store. The order is the server's at the time of asking: a row changes where it stands, and new tickets are counted
// until somebody asks to see them, so that nothing moves under a finger.

import { request } from "../net/api.js";
import { live } from "./live.js";
import { store } from "./store.js";

export const PAGE_SIZE = 50;
/** The server's own limit; used where many rows are fetched again at once. */
const PAGE_SIZE_MAX = 1_000;
/** A page may be empty and not the last one, since a request examines a bounded number of tickets. So many in a row are skipped. */
const EMPTY_PAGES_MAX = 20;
/** Only so many words of a title can be found. */
const INDEXED_WORDS_MAX = 32;

export class Listing {
  /** @param {URLSearchParams} query the filters and the order, as the interface names them */
  constructor(query) {
    this.query = new URLSearchParams(query);
    /** @type {string[]} */
    this.ids = [];
    /** @type {string | null} */
    this.next = null;
    this.pending = new Set();
    this.loaded = false;
    this.epoch = -1;
    this.#known = new Set();
  }

  #known;
  /** @type {Promise<void> | null} */
  #running = null;

  /** The first page, of `rows` tickets if that is more, in place of whatever was there. @throws {Problem} */
  async load(signal, rows = PAGE_SIZE) {
    const epoch = live.epoch;
    const size = Math.min(PAGE_SIZE_MAX, Math.max(PAGE_SIZE, rows));
    const { data, next } = await pageWithTickets(this.#path(size), signal);
    store.putTickets(data);
    this.ids = data.map((ticket) => ticket.id);
    this.#known = new Set(this.ids);
    this.next = next;
    this.pending.clear();
    this.loaded = true;
    this.epoch = epoch;
  }

  /** The next page, below what is there; does nothing at the end, or while one is on its way. @throws {Problem} */
  more(signal) {
    if (!this.next) return Promise.resolve();
    this.#running ??= this.#loadMore(this.next, signal).finally(() => (this.#running = null));
    return this.#running;
  }

  /**
   * Asks again for everything that is shown, since something may have been missed: rows change where they stand, tickets
   * that are no longer there are marked, new ones counted. @throws {Problem}
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
      if (!seen.has(id) && (path === null || (byAge && id > last))) store.loseTicket(id);
    this.#countNewer(seen);
    this.epoch = epoch;
  }

  /** A ticket was listed. @returns whether it belongs here and is counted */
  heardOf(ticket) {
    if (!matches(this.query, ticket) || this.#known.has(ticket.id)) return false;
    this.pending.add(ticket.id);
    return true;
  }

  /** The first ticket of a list that was empty: nothing else belongs before it, and asking may answer from just before it. */
  begin(ticket) {
    store.putTickets([ticket]);
    this.ids = [ticket.id];
    this.#known.add(ticket.id);
    this.pending.delete(ticket.id);
  }

  async #loadMore(path, signal) {
    const { data, next } = await pageWithTickets(path, signal);
    store.putTickets(data);
    for (const { id } of data) {
      if (this.#known.has(id)) continue;
      this.#known.add(id);
      this.pending.delete(id);
      this.ids.push(id);
    }
    this.next = next;
  }

  /** Ids ascend with time, so what is newer than the newest row was listed since. */
  #countNewer(seen) {
    const newest = [...this.ids].sort().at(-1) ?? "";
    for (const id of seen) if (id > newest) this.#count(id);
  }

  #count(id) {
    if (!this.#known.has(id)) this.pending.add(id);
  }

  #path(limit) {
    const query = new URLSearchParams(this.query);
    query.set("limit", limit);
    return `/api/tickets?${query}`;
  }
}

/** The first page from `path` on that has tickets, or the last one. */
async function pageWithTickets(path, signal) {
  let page = await request("GET", path, { signal });
  for (let pages = 1; page.data.length === 0 && page.next && pages < EMPTY_PAGES_MAX; pages += 1)
    page = await request("GET", page.next, { signal });
  return page;
}

/** Whether a new ticket would be in the list: the interface's own filters, for what a frame tells. */
export function matches(query, ticket) {
  const minimum = Number(query.get("minPrice") ?? 0);
  const maximum = Number(query.get("maxPrice") ?? Infinity);
  if (ticket.price < minimum || ticket.price > maximum) return false;
  return !query.get("q") || hasWords(ticket.title, query.get("q"));
}

/** The server's rule (src/catalog/words.rs): each word begins one of the title's first 32, and without a word nothing is found. */
function hasWords(title, search) {
  const words = wordsOf(search);
  const titleWords = wordsOf(title).slice(0, INDEXED_WORDS_MAX);
  return (
    words.length > 0 && words.every((word) => titleWords.some((other) => other.startsWith(word)))
  );
}

function wordsOf(text) {
  const folded = Array.from(text.normalize("NFKD"), foldCase).join("").normalize("NFKD");
  const plain = folded.replace(/\p{M}/gu, (mark) => (isIgnored(mark) ? "" : mark)).normalize("NFC");
  const runs = plain.split(/[^\p{Alphabetic}\p{N}\p{M}]+/u);
  return runs.filter((run) => /[\p{Alphabetic}\p{N}]/u.test(run.replace(/\p{M}/gu, "")));
}

/** Full case folding of one character. A dotless i is a letter of its own there, and an i in capitals. */
function foldCase(character) {
  return character === "ı"
    ? character
    : character.toLowerCase().toUpperCase().toLowerCase().replace("ς", "σ");
}

/**
 * Whether a mark has a combining class from 202 on, as accents have. JavaScript has no access to the class, but normalization
 * puts marks in the order of theirs: U+0334 has class 1, U+0321 has 202.
 */
function isIgnored(mark) {
  return (
    `${mark}\u0334`.normalize("NFD") !== `${mark}\u0334` &&
    `\u0321${mark}`.normalize("NFD") === `\u0321${mark}`
  );
}

// New tickets while a filter is active. The server decides whether they match; one request decides for many tickets. The first
// request is sent soon; while more tickets arrive, the pauses between requests grow.

import { request } from "../net/api.js";

/** Maximum number of tickets that one response can confirm, newest first. Further tickets are not counted. */
const RESPONSE_TICKETS_MAX = 100;
const CANDIDATES_MAX = 1_000;
const SPACING_FIRST_MS = 200;
const SPACING_MAX_MS = 10_000;
/** Time after which a ticket that the list lacks is taken as not matching. A list is usually not further behind the frame. */
const LIST_LAG_MS = 1_300;

export class Arrivals {
  #query;
  #found;
  #signal;
  #candidates = new Map(); // id -> time of its frame; #requestedOnce holds the ids that one response lacked
  #requestedOnce = new Set();
  /** @type {number | undefined} */
  #timer;
  #requestInFlight = false;
  #requestedAt = -Infinity;
  #spacingMs = SPACING_FIRST_MS;

  /**
   * @param {URLSearchParams} query the filters of the list
   * @param {(tickets: object[]) => void} found called with the new tickets that match, newest first
   */
  constructor(query, found, signal) {
    this.#query = new URLSearchParams(query);
    this.#query.delete("sort");
    this.#query.set("limit", RESPONSE_TICKETS_MAX);
    this.#found = found;
    this.#signal = signal;
    signal.addEventListener("abort", () => clearTimeout(this.#timer));
    document.addEventListener("visibilitychange", () => this.#schedule(), { signal });
  }

  /** Adds a ticket that was listed. */
  add(id) {
    this.#candidates.set(id, performance.now());
    if (this.#candidates.size > CANDIDATES_MAX) this.#drop(this.#candidates.keys().next().value);
    if (performance.now() - this.#requestedAt > SPACING_MAX_MS) this.#spacingMs = SPACING_FIRST_MS;
    this.#schedule();
  }

  #schedule() {
    clearTimeout(this.#timer);
    const idle = this.#requestInFlight || this.#candidates.size === 0 || this.#signal.aborted;
    if (idle || document.visibilityState !== "visible") return;
    const [oldest] = this.#candidates.values();
    const due = this.#requestedOnce.size < this.#candidates.size ? 0 : oldest + LIST_LAG_MS;
    const next = Math.max(due, this.#requestedAt + this.#spacingMs);
    const wait = Math.max(SPACING_FIRST_MS, next - performance.now());
    this.#timer = setTimeout(() => this.#sendRequest(), wait);
  }

  async #sendRequest() {
    this.#requestInFlight = true;
    this.#requestedAt = performance.now();
    this.#spacingMs = Math.min(SPACING_MAX_MS, this.#spacingMs * 2);
    try {
      const { data } = await request("GET", `/api/tickets?${this.#query}`, {
        signal: this.#signal,
      });
      this.#processResponse(data);
    } catch {
      // The next request follows after a longer pause.
    } finally {
      this.#requestInFlight = false;
    }
    this.#schedule();
  }

  #processResponse(tickets) {
    const found = tickets.filter(({ id }) => this.#candidates.has(id));
    for (const { id } of found) this.#drop(id);
    for (const [id, receivedAt] of this.#candidates) {
      if (this.#requestedAt - receivedAt >= LIST_LAG_MS) this.#drop(id);
      else if (receivedAt <= this.#requestedAt) this.#requestedOnce.add(id);
    }
    if (found.length > 0) this.#found(found);
  }

  #drop(id) {
    this.#candidates.delete(id);
    this.#requestedOnce.delete(id);
  }
}

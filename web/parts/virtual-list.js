// A long list with only the rows near the window in the document: about twenty of ten thousand. Each row has
// the height of its content, so that long titles, text spacing or zoom cannot make rows overlap. A row that was not measured
// yet counts with the minimum height. Positions are set through the CSSOM, which a strict Content-Security-Policy allows.

import { focusedRowId } from "../core/dom.js";

/** Rows of the minimum height above and below the window, so that fast scrolling shows no gap. */
const OVERSCAN = 8;

/** Maximum number of rows in the document for printing. */
const PRINTED_MAX = 1_000;

/** Height differences below this many pixels are rounding errors. */
const ROUNDING_PX = 0.5;

/**
 * @typedef {object} Heights measured heights of rows in a list of one width
 * @property {number} width
 * @property {Map<string, number>} byId
 *
 * @typedef {object} Row
 * @property {HTMLElement} element
 * @property {(value: any) => void} show
 * @property {number} [index] its index in the list
 * @property {number} [top] its current position in pixels
 */

export class VirtualList {
  #host;
  #rowOf;
  #onRange;
  #pinned;
  #heights;
  #ids = [];
  #indexes = new Map();
  #offsets = new Float64Array(1);
  /** @type {Map<string, Row>} */
  #rows = new Map();
  #width = 0;
  #smallest = 0;
  #stale = true;
  #printing = false;
  /** @type {number | null} */
  #frame = null;
  #resizes = new ResizeObserver((entries) => this.#resized(entries));

  /**
   * @param {object} options
   * @param {HTMLElement} options.host an empty list element; its rows are positioned inside it
   * @param {(id: string) => { element: HTMLElement, show: (value) => void }} options.rowOf builds a row
   * @param {(end: number) => void} [options.onRange] called after each rendering with the end index of the rows near the window
   * @param {string} [options.pinned] id of a row that is always in the document
   * @param {Heights} [options.heights] heights that an earlier list with these rows measured
   * @param {AbortSignal} options.signal
   */
  constructor({ host, rowOf, onRange, pinned, heights = { width: 0, byId: new Map() }, signal }) {
    this.#host = host;
    this.#rowOf = rowOf;
    this.#onRange = onRange;
    this.#pinned = pinned;
    this.#heights = heights;
    addEventListener("scroll", () => this.schedule(), { passive: true, signal });
    addEventListener("resize", () => this.#render(), { signal });
    addEventListener("beforeprint", () => this.#print(true), { signal });
    addEventListener("afterprint", () => this.#print(false), { signal });
    signal.addEventListener("abort", () => this.#end(), { once: true });
  }

  /** Shows these rows in this order. Rows that stay keep their elements. */
  setIds(ids) {
    this.#ids = ids;
    this.#indexes = new Map(ids.map((id, index) => [id, index]));
    this.#stale = true;
    this.#render();
  }

  /**
   * Returns the row of an id if it is in the document.
   * @returns {any}
   */
  row(id) {
    return this.#rows.get(id);
  }

  /** Returns the rows in the document with their ids. */
  rows() {
    return this.#rows.entries();
  }

  /** Renders once in the next animation frame. */
  schedule() {
    this.#frame ??= requestAnimationFrame(() => this.#render());
  }

  #end() {
    cancelAnimationFrame(this.#frame ?? 0);
    this.#resizes.disconnect();
  }

  #print(printing) {
    this.#printing = printing;
    this.#render();
  }

  #render() {
    cancelAnimationFrame(this.#frame ?? 0);
    this.#frame = null;
    const anchor = this.#anchor();
    this.#followWidth();
    this.#computeOffsets();
    const [first, last] = this.#range();
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#ids[index], index);
    this.#keepFocused(wanted);
    this.#removeAllBut(wanted);
    this.#addMissing(wanted);
    this.#computeOffsets();
    for (const [id, index] of wanted) this.#place(this.row(id), index);
    this.#keepInPlace(anchor);
    if (!this.#printing) this.#onRange?.(last); // printing loads no more rows
  }

  /** Returns the first row in the window and its position, which must stay fixed when rows above it change their heights. */
  #anchor() {
    const above = -this.#host.getBoundingClientRect().top;
    if (above <= 0 || this.#rows.size === 0) return null;
    const index = this.#indexAt(above);
    const id = this.#ids[index];
    return this.#rows.has(id) ? { id, top: this.#offsets[index] - above } : null;
  }

  #keepInPlace(anchor) {
    const index = anchor === null ? undefined : this.#indexes.get(anchor.id);
    if (index === undefined) return;
    const moved = this.#offsets[index] + this.#host.getBoundingClientRect().top - anchor.top;
    if (Math.abs(moved) >= 1) window.scrollBy({ top: moved, behavior: "instant" });
  }

  /** Discards measured heights when the width of the list changes, because all rows have other heights then. */
  #followWidth() {
    const width = this.#host.clientWidth;
    if (width === this.#width) return;
    this.#width = width;
    if (this.#heights.width !== width) this.#heights.byId.clear();
    this.#heights.width = width;
    this.#smallest = this.#measureSmallest();
    for (const [id, { element }] of this.#rows) this.#measured(id, element.offsetHeight);
    this.#stale = true;
  }

  #measureSmallest() {
    const probe = document.createElement("li");
    probe.className = "row row-probe";
    this.#host.append(probe);
    const height = probe.offsetHeight;
    probe.remove();
    return height;
  }

  #measured(id, height) {
    if (Math.abs((this.#heights.byId.get(id) ?? this.#smallest) - height) >= ROUNDING_PX)
      this.#stale = true;
    this.#heights.byId.set(id, height);
  }

  #resized(entries) {
    for (const { target } of entries) this.#measured(target.dataset.id, target.offsetHeight);
    if (this.#stale) this.#render();
  }

  /** Computes the offsets: `offsets[n]` is the top of row n; the last one is the height of all rows. */
  #computeOffsets() {
    if (!this.#stale) return;
    this.#stale = false;
    const offsets = new Float64Array(this.#ids.length + 1);
    this.#ids.forEach((id, index) => {
      offsets[index + 1] = offsets[index] + (this.#heights.byId.get(id) ?? this.#smallest);
    });
    this.#offsets = offsets;
    this.#host.style.height = `${offsets[this.#ids.length]}px`;
  }

  /** Returns the index of the row at a distance from the top of the list. */
  #indexAt(distance) {
    let [low, high] = [0, this.#ids.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#offsets[middle + 1] <= distance) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #range() {
    if (this.#printing) return [0, Math.min(this.#ids.length, PRINTED_MAX)];
    const above = -this.#host.getBoundingClientRect().top;
    const first = this.#indexAt(above) - OVERSCAN;
    const last = this.#indexAt(above + innerHeight) + 1 + OVERSCAN;
    return [Math.max(0, first), Math.min(this.#ids.length, last)];
  }

  /** Keeps the row with the focus and the pinned row in the document at any scroll position, so that keyboard users do not lose their position. */
  #keepFocused(wanted) {
    for (const id of [focusedRowId(), this.#pinned])
      if (this.#indexes.has(id)) wanted.set(id, this.#indexes.get(id));
  }

  #removeAllBut(wanted) {
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      this.#resizes.unobserve(row.element);
      row.element.remove();
      this.#rows.delete(id);
    }
  }

  #addMissing(wanted) {
    const missing = [...wanted.keys()].filter((id) => !this.#rows.has(id));
    for (const id of missing) this.#rows.set(id, this.#rowOf(id));
    this.#arrange(wanted);
    for (const id of missing) {
      const { element } = this.row(id);
      this.#measured(id, element.offsetHeight);
      this.#resizes.observe(element);
    }
  }

  /** Sorts the elements: document order is reading order and tab order. */
  #arrange(wanted) {
    const order = [...wanted].sort(([, one], [, other]) => other - one);
    let next = null;
    for (const [id] of order) {
      const { element } = this.row(id);
      if (!element.isConnected || element.nextSibling !== next)
        this.#host.insertBefore(element, next);
      next = element;
    }
  }

  #place(row, index) {
    const { element } = row;
    const top = this.#offsets[index];
    if (row.top !== top) {
      row.top = top;
      element.style.transform = `translateY(${top}px)`;
    }
    if (row.index === index) return;
    row.index = index;
    element.setAttribute("aria-posinset", String(index + 1));
    element.setAttribute("aria-setsize", "-1"); // the list loads more rows while scrolling down
  }
}

// A long list of rows of one height, of which only those near the window are in the document: ten thousand tickets cost no
// more than twenty. Positions are set through the CSSOM, which a strict Content-Security-Policy allows.

/** Rows kept above and below the window, so that a quick flick shows no gap. */
const OVERSCAN = 8;

export class VirtualList {
  #host;
  #rowOf;
  #onRange;
  #ids = [];
  /** @type {Map<string, { element: HTMLElement, show: (value: any) => void, index: number }>} */
  #rows = new Map();
  #rowHeight = 0;
  /** @type {number | null} */
  #frame = null;

  /**
   * @param {object} options
   * @param {HTMLElement} options.host an empty list element; its rows are positioned inside it
   * @param {(id: string) => { element: HTMLElement, show: (value) => void }} options.rowOf builds a row
   * @param {(end: number) => void} [options.onRange] told after each rendering which row is the last one near the window
   * @param {AbortSignal} options.signal
   */
  constructor({ host, rowOf, onRange, signal }) {
    this.#host = host;
    this.#rowOf = rowOf;
    this.#onRange = onRange;
    addEventListener("scroll", () => this.schedule(), { passive: true, signal });
    addEventListener("resize", () => this.#resized(), { signal });
    signal.addEventListener("abort", () => cancelAnimationFrame(this.#frame ?? 0), { once: true });
  }

  /** Shows these rows in this order; rows that stay keep their elements. */
  setIds(ids) {
    this.#ids = ids;
    this.#rowHeight ||= this.#measure();
    this.#host.style.height = `${ids.length * this.#rowHeight}px`;
    this.#render();
  }

  /** The row of an id if it is in the document. */
  row(id) {
    return this.#rows.get(id);
  }

  /** The rows in the document, each with its id. */
  rows() {
    return this.#rows.entries();
  }

  /** Renders with the next frame, however often it is asked for. */
  schedule() {
    this.#frame ??= requestAnimationFrame(() => this.#render());
  }

  #resized() {
    this.#rowHeight = 0;
    this.setIds(this.#ids);
  }

  #measure() {
    const probe = document.createElement("li");
    probe.className = "row row-probe";
    this.#host.append(probe);
    const height = probe.getBoundingClientRect().height;
    probe.remove();
    return height;
  }

  #render() {
    cancelAnimationFrame(this.#frame ?? 0);
    this.#frame = null;
    const above = -this.#host.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(above / this.#rowHeight) - OVERSCAN);
    const last = Math.min(
      this.#ids.length,
      Math.ceil((above + innerHeight) / this.#rowHeight) + OVERSCAN,
    );
    const wanted = new Map();
    for (let index = first; index < last; index += 1) wanted.set(this.#ids[index], index);
    this.#keepFocused(wanted);
    this.#removeAllBut(wanted);
    for (const [id, index] of wanted) this.#place(id, index);
    this.#onRange?.(last);
  }

  /** The row that has the focus stays, wherever the window is: else the keyboard would lose its place. */
  #keepFocused(wanted) {
    const id = /** @type {HTMLElement | null | undefined} */ (
      document.activeElement?.closest("[data-id]")
    )?.dataset.id;
    if (id && this.#rows.has(id) && !wanted.has(id)) {
      const index = this.#ids.indexOf(id);
      if (index >= 0) wanted.set(id, index);
    }
  }

  #removeAllBut(wanted) {
    for (const [id, row] of this.#rows) {
      if (wanted.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
  }

  #place(id, index) {
    const row = this.#rows.get(id) ?? { ...this.#rowOf(id), index: -1 };
    this.#rows.set(id, row);
    const { element } = row;
    if (row.index !== index) {
      row.index = index;
      element.style.transform = `translateY(${index * this.#rowHeight}px)`;
      element.setAttribute("aria-posinset", String(index + 1));
      element.setAttribute("aria-setsize", "-1"); // more are loaded on the way down
    } else if (element.isConnected) return;
    this.#insertInOrder(element, index);
  }

  /** Document order is reading order and tab order. */
  #insertInOrder(element, index) {
    /** @type {{ element: HTMLElement, index: number } | null} */
    let after = null;
    for (const row of this.#rows.values()) {
      if (
        row.element !== element &&
        row.element.isConnected &&
        row.index > index &&
        (!after || row.index < after.index)
      )
        after = row;
    }
    if (!element.isConnected || element.nextSibling !== (after?.element ?? null))
      this.#host.insertBefore(element, after?.element ?? null);
  }
}

// A short list whose rows keep their elements while they are in the list, so that the focus stays and nothing flickers.

/** `rowOf(key)` builds `{ element, show }` once per key; `show(value)` updates the element. */
export class KeyedList {
  #host;
  #rowOf;
  #rows = new Map();

  constructor(host, rowOf) {
    this.#host = host;
    this.#rowOf = rowOf;
  }

  /** @param {Array<{ id: string }>} values in the order of the rows */
  show(values) {
    const keys = new Set(values.map(({ id }) => id));
    for (const [id, row] of this.#rows) {
      if (keys.has(id)) continue;
      row.element.remove();
      this.#rows.delete(id);
    }
    values.forEach((value, index) => {
      const row = this.#rows.get(value.id) ?? this.#rowOf(value);
      this.#rows.set(value.id, row);
      row.show(value);
      if (this.#host.children[index] !== row.element)
        this.#host.insertBefore(row.element, this.#host.children[index] ?? null);
    });
  }
}

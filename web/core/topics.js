// Listeners by topic. Each listener is bound to an AbortSignal, so that leaving a page removes all its listeners.

export class Topics {
  #listeners = new Map();

  /** Calls `listener` at each `emit` of the topic until the signal aborts. */
  watch(topic, listener, signal) {
    if (signal?.aborted) return;
    const set = this.#listeners.get(topic) ?? new Set();
    set.add(listener);
    this.#listeners.set(topic, set);
    signal?.addEventListener("abort", () => this.#drop(topic, listener), { once: true });
  }

  emit(topic, detail) {
    const set = this.#listeners.get(topic);
    if (set) for (const listener of [...set]) listener(detail);
  }

  #drop(topic, listener) {
    const set = this.#listeners.get(topic);
    set?.delete(listener);
    if (set?.size === 0) this.#listeners.delete(topic);
  }
}

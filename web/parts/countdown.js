// <gittix-countdown>: how long it is until a time of the server's clock, once a second. Silent for screen readers, which are
// told by whoever shows it, at moments that matter.

import { onSecond, secondsUntil } from "../core/clock.js";
import { setText } from "../core/dom.js";
import { countdown } from "../words/format.js";

class Countdown extends HTMLElement {
  #untilMs = 0;
  /** @type {AbortController | null} */
  #connected = null;

  /** Milliseconds since 1970, by the server's clock. */
  set until(serverMs) {
    this.#untilMs = serverMs;
    this.#show();
  }

  connectedCallback() {
    this.#connected = new AbortController();
    onSecond(() => this.#show(), this.#connected.signal);
    this.#show();
  }

  disconnectedCallback() {
    this.#connected?.abort();
  }

  #show() {
    setText(this, countdown(secondsUntil(this.#untilMs)));
  }
}

customElements.define("gittix-countdown", Countdown);

/** A countdown to an RFC 3339 time. */
export function countdownTo(iso, className = "") {
  const element = new Countdown();
  element.className = className;
  element.until = Date.parse(iso);
  return element;
}

// <gittix-countdown>: the time until a moment of the server's clock, updated once a second. It is silent for screen readers;
// the code that shows it announces the important moments.

import { onSecond, secondsUntil } from "../core/clock.js";
import { setText } from "../core/dom.js";
import { countdown } from "../words/format.js";

class Countdown extends HTMLElement {
  #untilMs = 0;
  /** @type {AbortController | null} */
  #connected = null;

  /** The end of the countdown on the server's clock, in milliseconds since 1970. */
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

/** Returns a countdown to an RFC 3339 time. */
export function countdownTo(iso, className = "") {
  const element = new Countdown();
  element.className = className;
  element.until = Date.parse(iso);
  return element;
}

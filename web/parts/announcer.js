// One polite live region for what is worth hearing: what happened to the ticket or order in front of the reader, and the
// connection. Lists change silently. Of several messages in one breath only the last is read.

import { shellElement } from "../core/dom.js";

const BREATH_MS = 350;

/** @type {number | undefined} */
let timer;

/** @param {string | (() => string)} text the message, or what makes it at the time when it is read */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    shellElement("announcer").textContent = typeof text === "function" ? text() : text;
  }, BREATH_MS);
}

// One polite live region for important messages: changes of the shown ticket or order, and of the connection. Changes in lists
// are not announced. Of several messages in quick succession, only the last is announced.

import { shellElement } from "../core/dom.js";

const BREATH_MS = 350;

/** @type {number | undefined} */
let timer;

/** @param {string | (() => string)} text the message, or a function that returns it at the time of the announcement */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    shellElement("announcer").textContent = typeof text === "function" ? text() : text;
  }, BREATH_MS);
}

// One polite live region for important messages: changes of the shown ticket or order, and of the connection. Changes of single rows in lists are not announced. Of several messages in quick succession, only the last is announced.

import { shellElement } from "../core/dom.js";

const DELAY_MS = 350;

/** @type {number | undefined} */
let timer;

/** @param {string | (() => string)} text the message, or a function that returns it at the time of the announcement */
export function announce(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    shellElement("announcer").textContent = typeof text === "function" ? text() : text;
  }, DELAY_MS);
}

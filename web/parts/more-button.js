// The button at the end of a list that loads more rows.

import { h, rowLink } from "../core/dom.js";

/**
 * Returns a button that moves the focus to the first new row, because the button may be removed.
 * @param {string} label
 * @param {HTMLElement} list
 * @param {() => Promise<string[]>} load resolves to the ids of the new rows, in order
 */
export function moreButton(label, list, load) {
  const button = h("button", { type: "button", class: "button" }, label);
  button.addEventListener("click", async () => {
    const ids = await load();
    const { activeElement } = document;
    if (activeElement !== button && activeElement !== document.body) return;
    for (const id of ids) {
      const link = rowLink(list, id);
      if (link) return link.focus();
    }
  });
  return button;
}

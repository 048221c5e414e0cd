// The button at the end of a list, which loads more of it.

import { h, rowLink } from "../core/dom.js";

/**
 * A button whose focus goes to the first of the rows that it brought: the button may be gone by then.
 * @param {string} label
 * @param {HTMLElement} list
 * @param {() => Promise<string[]>} load resolves to the ids of the rows that it brought, in order
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

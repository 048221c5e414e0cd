// A question before something that cannot be undone, beside the button that asks it. Escape means no.

import { fill, h } from "../core/dom.js";

/**
 * Lets a button ask first. `element` is where the question appears; the button is hidden meanwhile.
 * @param {HTMLButtonElement} start
 * @param {object} options
 * @param {string} options.text what will happen
 * @param {string} options.yes
 * @param {string} options.no
 * @param {() => void} options.act called when the user confirms
 */
export function question(start, { text, yes, no, act }) {
  const element = h("div", { class: "removal" });
  let open = new AbortController();

  function ask() {
    const accept = h(
      "button",
      { type: "button", class: "button button-danger", on: { click: act } },
      yes,
    );
    const refuse = h("button", { type: "button", class: "button", on: { click: close } }, no);
    fill(element, h("p", {}, text), h("div", { class: "form-actions" }, accept, refuse));
    start.hidden = true;
    open.abort();
    open = new AbortController();
    document.addEventListener("keydown", onKey, { signal: open.signal });
    accept.focus();
  }

  function onKey(event) {
    if (!element.isConnected) open.abort();
    else if (event.key === "Escape" && !event.defaultPrevented) close();
  }

  /** Removes the question. The focus returns to the button if it was in it. */
  function close() {
    const hadFocus = element.contains(document.activeElement);
    open.abort();
    fill(element);
    start.hidden = false;
    if (hadFocus) start.focus();
  }

  start.addEventListener("click", () => start.getAttribute("aria-disabled") !== "true" && ask());
  return { element, close };
}

// A confirmation before an irreversible action, beside the button of the action. Escape means no.

import { fill, h } from "../core/dom.js";

/**
 * Adds a confirmation to a button. `element` is the place of the question; the button is hidden while it is shown.
 * @param {HTMLButtonElement} start
 * @param {object} options
 * @param {string} options.text the consequence of the action
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

  /** Removes the question. If it had the focus, the focus returns to the button. */
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

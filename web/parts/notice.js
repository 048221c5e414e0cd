// A message on the page, beside the element that it is about.

import { fill, h } from "../core/dom.js";
import { refusalText } from "../words/refusals.js";

/** Returns a box that takes no space while it is empty. `say` and `clear` change its content. */
export function noticeBox() {
  const element = h("div", { class: "notice-box", role: "alert" });
  return {
    element,
    clear: () => fill(element),
    /**
     * @param {"bad" | "warn" | "good"} tone
     * @param {string} what
     * @param {string} [then]
     * @param {...Node} actions
     */
    say: (tone, what, then, ...actions) => fill(element, notice(tone, what, then, ...actions)),
    refuse: (problem, ...actions) => {
      const { what, advice } = refusalText(problem);
      fill(element, notice("bad", what, advice, ...actions));
    },
  };
}

/**
 * @param {"bad" | "warn" | "good"} tone
 * @param {string} what
 * @param {string} [then]
 * @param {...Node} actions
 */
export function notice(tone, what, then, ...actions) {
  return h(
    "div",
    { class: `notice notice-${tone}` },
    h("p", {}, h("strong", {}, what), then ? ` ${then}` : ""),
    // The spaces separate the actions where the text is read without its layout.
    actions.length > 0 &&
      h(
        "p",
        { class: "notice-actions" },
        actions.flatMap((action) => [" ", action]),
      ),
  );
}

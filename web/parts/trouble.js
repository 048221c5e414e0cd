// A page that could not be loaded says why, and what can be done.

import { fill, h } from "../core/dom.js";
import { inWords } from "../words/refusals.js";

/** Replaces what is in `host` by the refusal, as a page of its own. */
export function showTrouble(host, problem, retry) {
  const missing = problem.code === "not_found";
  const { what, advice } = inWords(problem);
  fill(
    host,
    h(
      "div",
      { class: "empty" },
      h("h1", {}, missing ? "Not here any more" : "This could not be shown"),
      h("p", {}, `${what} ${advice}`),
      h(
        "p",
        { class: "empty-actions" },
        !missing &&
          retry &&
          h("button", { type: "button", class: "button", on: { click: retry } }, "Try again"),
        h("a", { class: "button button-primary", href: "/" }, "See tickets for sale"),
      ),
    ),
  );
}

// The error page for content that could not be loaded, with the reason and the possible actions.

import { fill, h } from "../core/dom.js";
import { refusalText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";

/** Replaces the content of `host` by the refusal, as a page with its own heading. */
export function showLoadError(host, problem, retry) {
  const missing = problem.code === "not_found";
  const { what, advice } = refusalText(problem);
  const { missing: removed, forbidden, failed } = texts.trouble;
  const heading = problem.code === "not_owner" ? forbidden : missing ? screens.notFound : failed;
  fill(
    host,
    h(
      "div",
      { class: "empty" },
      h("h1", {}, heading),
      h("p", {}, missing ? removed : `${what} ${advice}`),
      h(
        "p",
        { class: "empty-actions" },
        !missing &&
          retry &&
          h(
            "button",
            { type: "button", class: "button", on: { click: retry } },
            texts.actions.tryAgain,
          ),
        h("a", { class: "button button-primary", href: "/" }, texts.actions.seeTickets),
      ),
    ),
  );
}

// The details of a ticket, or of an order's copy of it: the title. All rows and cards of these pages show them through this
// part, so that a further detail is added here alone. The server renders rows and cards too (src/http/pages).

import { h, setAttribute, setText, USER_TEXT } from "../core/dom.js";
import { texts } from "../words/texts.js";
import { isLong, tintOf } from "./stub.js";

/** @typedef {import("../state/store.js").TicketDetails} TicketDetails */

/** The details with their labels. The price is not among them: pages show it apart, and an order has its own. */
const DETAILS = [{ label: texts.form.title, textOf: ({ title }) => title }];

/**
 * Returns `{ elements, show }`: the details in the link of a list row, and the function that updates them.
 * @param {TicketDetails} first
 */
export function rowDetails(first) {
  const title = h("span", { class: "row-title", ...USER_TEXT });

  /** @param {TicketDetails} details */
  function show(details) {
    setText(title, details.title);
  }

  show(first);
  return { elements: [title], show };
}

/**
 * Returns `{ element, show }`: the card at the top of a page, and the function that updates it. The title is the page's heading.
 * @param {TicketDetails} first
 * @param {...HTMLElement} lines shown below the details
 */
export function detailsCard(first, ...lines) {
  const title = h("h1", { tabindex: "-1", ...USER_TEXT });
  const element = h(
    "div",
    { class: `pass tint-${tintOf(first.title)}` },
    h("div", { class: "pass-body" }, title, lines),
    h("div", { class: "pass-bars", "aria-hidden": "true" }),
  );

  /** @param {TicketDetails} details */
  function show(details) {
    setText(title, details.title);
    setAttribute(title, "data-long", isLong(details));
  }

  show(first);
  return { element, show };
}

/**
 * Returns the label and the former text of each detail that differs between two versions of a ticket.
 * @param {TicketDetails} before
 * @param {TicketDetails} after
 */
export function changedDetails(before, after) {
  return DETAILS.filter(({ textOf }) => textOf(before) !== textOf(after)).map(
    ({ label, textOf }) => ({ label, formerText: textOf(before) }),
  );
}

// One ticket in a list. The row is built once and then updated in place.

import { h, setAttribute, setText } from "../core/dom.js";
import { money } from "../words/format.js";
import { kindOf, showStatus } from "./status.js";
import { stub } from "./stub.js";
import { rowDetails } from "./ticket-details.js";

const CHANGED_MS = 1_200;

/** Returns `{ element, show }`: a list item, and the function that updates it with a ticket. */
export function ticketRow(ticket) {
  const details = rowDetails(ticket);
  const status = h("span", { class: "status" });
  const price = h("span", { class: "row-price" });
  const link = h("a", { class: "row-link", href: `/tickets/${ticket.id}` }, details.elements);
  const element = h(
    "li",
    { class: "row", "data-id": ticket.id },
    stub(ticket),
    h("div", { class: "row-text" }, link, status),
    price,
  );
  let shown = /** @type {import("../state/store.js").Ticket | null} */ (null);

  function show(next) {
    if (next === undefined) return;
    details.show(next);
    setText(price, money(next.price, next.currency));
    showStatus(status, next);
    setAttribute(element, "data-kind", kindOf(next));
    if (shown && shown.version !== next.version) flash(element);
    shown = next;
  }

  show(ticket);
  return { element, show };
}

/** Tints a changed row for a moment, so that users notice the change. Nothing moves. */
function flash(element) {
  element.classList.add("row-changed");
  setTimeout(() => element.classList.remove("row-changed"), CHANGED_MS);
}

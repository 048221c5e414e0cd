// The two sides of selling, one link apart.

import { h } from "../core/dom.js";

export function sellTabs() {
  const link = (href, label) =>
    h("a", { href, class: "tab", "aria-current": location.pathname === href && "page" }, label);
  return h(
    "nav",
    { class: "tabs", "aria-label": "Selling" },
    link("/tickets/new", "Create a Ticket"),
    link("/listings", "My listings"),
  );
}

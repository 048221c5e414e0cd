// Links between the two pages for sellers.

import { h } from "../core/dom.js";
import { screens, texts } from "../words/texts.js";

export function sellTabs() {
  const link = (href, label) =>
    h("a", { href, class: "tab", "aria-current": location.pathname === href && "page" }, label);
  return h(
    "nav",
    { class: "tabs", "aria-label": texts.navigation.sell },
    link("/tickets/new", screens.newTicket),
    link("/listings", screens.listings),
  );
}

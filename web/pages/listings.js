// My listings: all tickets that the signed-in user listed and did not take off sale. Each links to its editor.

import { onSecond } from "../core/clock.js";
import { fill, h } from "../core/dom.js";
import { announce } from "../parts/announcer.js";
import { KeyedList } from "../parts/keyed-list.js";
import { moreButton } from "../parts/more-button.js";
import { sellTabs } from "../parts/sell-tabs.js";
import { ticketRow } from "../parts/ticket-row.js";
import { showLoadError } from "../parts/trouble.js";
import { keepFresh } from "../state/fresh.js";
import { Listing } from "../state/listing.js";
import { live } from "../state/live.js";
import { store } from "../state/store.js";
import { refusalText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";

export const listingsPage = {
  name: "listings",
  title: screens.listings,
  needsUser: true,
  isList: true,
  mount,
};

/** Maximum number of tickets that this page watches. Further tickets of a seller stay as they were loaded. */
const WATCHED_MAX = 100;

function mount({ root, signal, ready }) {
  const listing = new Listing(
    new URLSearchParams({ seller: "me", status: "Available,Locked,Sold" }),
  );
  let view = /** @type {ReturnType<typeof build> | null} */ (null);

  function show() {
    view ??= build(root, more);
    view.show(
      listing.ids.map((id) => store.ticket(id)).filter((ticket) => ticket && !ticket.gone),
      listing.next !== null,
    );
    ready();
  }

  async function more() {
    const count = listing.ids.length;
    try {
      await listing.more(signal);
      show();
    } catch (problem) {
      if (!signal.aborted) announce(refusalText(problem).what); // the button stays, so that the user can retry
    }
    return listing.ids.slice(count);
  }

  keepFresh(
    async () => {
      if (!listing.loaded) await listing.load(signal);
      else await listing.verify(signal);
      listing.showCounted();
      if (listing.ids.length > 0) live.watch(listing.ids.slice(0, WATCHED_MAX));
      show();
    },
    (problem, retry) => !view && showLoadError(root, problem, retry),
    signal,
  );
  store.watch("tickets", () => view && show(), signal);
  onSecond(() => view && show(), signal);
}

function build(root, onMore) {
  const list = h("ul", { class: "order-rows" });
  const none = h(
    "div",
    { class: "empty" },
    h("p", {}, texts.listings.none),
    h(
      "p",
      { class: "empty-actions" },
      h("a", { class: "button button-primary", href: "/tickets/new" }, texts.navigation.sell),
    ),
  );
  const more = moreButton(texts.listings.more, list, onMore);
  fill(root, h("h1", { tabindex: "-1" }, screens.listings), sellTabs(), none, list, more);
  const rows = new KeyedList(list, (ticket) => staticRow(ticket));

  function show(tickets, hasMore) {
    rows.show(tickets);
    none.hidden = tickets.length > 0;
    more.hidden = !hasMore;
  }

  return { show };
}

function staticRow(ticket) {
  const row = ticketRow(ticket);
  row.element.classList.add("row-static");
  return row;
}

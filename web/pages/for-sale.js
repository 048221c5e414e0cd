// Tickets For Sale: the list, its search, and the number of new tickets since it was loaded.

import { onSecond } from "../core/clock.js";
import { fill, h, setText } from "../core/dom.js";
import { announce } from "../parts/announcer.js";
import { icon } from "../parts/icon.js";
import { moreButton } from "../parts/more-button.js";
import { noticeBox } from "../parts/notice.js";
import {
  addressOf,
  filterLinks,
  filtersOf,
  refusedFilters,
  searchForm,
  without,
} from "../parts/search-form.js";
import { kindOf } from "../parts/status.js";
import { ticketRow } from "../parts/ticket-row.js";
import { VirtualList } from "../parts/virtual-list.js";
import { Arrivals } from "../state/arrivals.js";
import { keepFresh } from "../state/fresh.js";
import { Listing } from "../state/listing.js";
import { isLive, live } from "../state/live.js";
import { store } from "../state/store.js";
import { screens, texts } from "../words/texts.js";

/** The next page is loaded when fewer rows than this follow the last rendered row. */
const ROWS_AHEAD = 25;
const SKELETON_ROWS = 8;
/** Minimum height of a row, unless the user has chosen a smaller text size. */
const ROW_HEIGHT_MIN_PX = 80;
const NEWS_SPACING_MS = 20_000;
const NEWS_SHOWN_MAX = 99;

/** The last shown list and the heights of its rows, so that the way back from a ticket needs no request. */
let kept = /** @type {Listing | null} */ (null);
/** @type {import("../parts/virtual-list.js").Heights} */
let cachedHeights;

/** Whether filters with unknown values were just removed from the address. */
let corrected = false;

export const forSale = { name: "for-sale", title: screens.forSale, isList: true, mount };

function mount({ root, query, signal, navigate, place, ready }) {
  const filters = filtersOf(query);
  const listing = kept?.query.toString() === filters.toString() ? kept : new Listing(filters);
  if (kept !== listing) cachedHeights = { width: 0, byId: new Map() };
  kept = listing;
  const parts = build(root, filters, navigate);
  const rows = new VirtualList({
    host: parts.list,
    signal,
    pinned: place?.row,
    heights: cachedHeights,
    rowOf: (id) => ticketRow(store.ticket(id)),
    onRange: (end) => reachedRow(end),
  });
  const more = moreButton(texts.list.more, parts.list, async () => {
    const count = listing.ids.length;
    await loadInto(() => listing.more(signal));
    return listing.ids.slice(count);
  });
  let newsAt = -Infinity;
  let restShown = /** @type {unknown} */ (null);
  let failed = false; // whether the box shows that the list could not be loaded

  live.watch(null);

  function show() {
    parts.skeleton.remove();
    rows.setIds(listing.ids);
    for (const [id, row] of rows.rows()) row.show(store.ticket(id));
    showRest();
    showNews();
    ready();
  }

  function showRest() {
    const rest = listing.next ? more : listing.ids.length === 0 ? nothing : theEnd;
    if (rest !== restShown) fill(parts.rest, typeof rest === "function" ? rest(filters) : rest);
    restShown = rest;
  }

  function showNews() {
    const count = listing.pending.size;
    parts.news.hidden = count === 0;
    if (count === 0) return;
    setText(parts.newsText, texts.list.newTickets(count, NEWS_SHOWN_MAX));
    if (performance.now() - newsAt > NEWS_SPACING_MS) {
      newsAt = performance.now();
      announce(parts.newsText.textContent);
    }
  }

  async function showNewest() {
    await loadInto(() => listing.load(signal));
    window.scrollTo({ top: 0 });
    parts.heading.focus({ preventScroll: true });
  }

  async function loadInto(load) {
    try {
      await load();
      parts.box.clear();
      show();
    } catch (problem) {
      if (!signal.aborted) refuse(problem, () => loadInto(load));
    }
  }

  function reachedRow(end) {
    if (listing.next && end > listing.ids.length - ROWS_AHEAD) loadInto(() => listing.more(signal));
  }

  function refuse(problem, retry) {
    parts.skeleton.remove();
    const refused = refusedFilters(problem, filters);
    if (refused.includes("q")) return refuseWords();
    if (refused.length > 0) {
      corrected = true;
      return navigate(addressOf(without(filters, refused)), { replace: true });
    }
    parts.box.refuse(
      problem,
      h(
        "button",
        { type: "button", class: "button", on: { click: retry } },
        texts.actions.tryAgain,
      ),
    );
  }

  function refuseWords() {
    parts.box.say(
      "bad",
      texts.list.searchTooLong,
      texts.list.searchLimit,
      h("a", { class: "button", href: addressOf(without(filters, ["q"])) }, texts.list.clearSearch),
    );
  }

  function arrived(tickets) {
    if (!listing.count(tickets.map(({ id }) => id))) return;
    if (!listing.loaded || listing.ids.length > 0) return showNews();
    store.putTickets(tickets);
    listing.showCounted();
    show();
  }

  if (corrected) {
    corrected = false;
    parts.box.say("warn", texts.list.badFilter, texts.list.badFilterRemoved);
  }
  parts.news.addEventListener("click", showNewest);
  if (listing.loaded) show();
  keepFresh(
    async () => {
      if (!listing.loaded || listing.ids.length === 0)
        await listing.load(signal, rowsUpTo(place?.y));
      else if (listing.epoch !== live.epoch) await listing.verify(signal);
      else if (!isLive())
        await listing.poll(
          [...rows.rows()].map(([id]) => id),
          signal,
        );
      store.retainTickets(listing.ids);
      if (failed) parts.box.clear();
      failed = false;
      show();
    },
    (problem, retry) => {
      failed = true;
      refuse(problem, retry);
    },
    signal,
  );
  store.watch("tickets", (id) => rows.row(id)?.show(store.ticket(id)), signal);
  const arrivals = listing.isUnfiltered ? null : new Arrivals(listing.query, arrived, signal);
  const created = (ticket) => (arrivals ? arrivals.add(ticket.id) : arrived([ticket]));
  store.watch("created", created, signal);
  onSecond(() => {
    for (const [id, row] of rows.rows()) {
      const ticket = store.ticket(id);
      if (ticket && kindOf(ticket) === "locked") row.show(ticket);
    }
  }, signal);
}

/** Returns the number of rows that a list needs before the window can be scrolled to `y`, for instance after a reload. */
function rowsUpTo(y = 0) {
  return Math.ceil((y + innerHeight) / ROW_HEIGHT_MIN_PX);
}

function build(root, filters, navigate) {
  const heading = h("h1", { tabindex: "-1" }, screens.forSale);
  const list = h("ul", { class: "rows", "aria-label": texts.list.label });
  const skeleton = h(
    "div",
    { class: "skeleton", "aria-hidden": "true" },
    Array.from({ length: SKELETON_ROWS }, () => h("div", { class: "skeleton-row" })),
  );
  const rest = h("div", { class: "rest" });
  const newsText = h("span");
  const news = h("button", { type: "button", class: "news", hidden: true }, icon("up"), newsText);
  const box = noticeBox();
  fill(
    root,
    h("div", { class: "hero" }, heading, searchForm(filters, navigate), filterLinks(filters)),
    box.element,
    h("div", { class: "news-line" }, news),
    list,
    skeleton,
    rest,
  );
  return { heading, list, skeleton, rest, news, newsText, box };
}

function nothingWords(searched, filtered) {
  if (searched) return texts.list.nothingFound(searched);
  return filtered ? texts.list.nothingMatches : texts.list.empty;
}

function nothing(filters) {
  const searched = filters.get("q");
  const filtered = without(filters, ["sort"]).toString() !== "";
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, nothingWords(searched, filtered)),
    h("p", {}, searched ? texts.list.searchHelp : filtered ? "" : texts.list.emptyHelp),
    h(
      "p",
      { class: "empty-actions" },
      filtered
        ? h("a", { class: "button", href: "/" }, texts.list.showAll)
        : h("a", { class: "button button-primary", href: "/tickets/new" }, texts.navigation.sell),
    ),
  );
}

function theEnd(filters) {
  const text = filters.get("q") ? texts.list.endOfSearch : texts.list.end;
  return h("p", { class: "rest-end" }, text);
}

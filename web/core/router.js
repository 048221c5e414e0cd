// Which page an address shows, and moving between them without loading the document again: back, forward, reload and deep
// links work as they do for any page. Each page lives as long as its signal.
//
// The state of a history entry is `{ y, row, lists }`: where the window was scrolled to, the id of the row that had the focus,
// and for each list that was shown on the way its address and its place, so that a link back to the list returns there.

import { focusedRowId, rowLink, setText } from "./dom.js";

const SITE_NAME = "GitTix";
/** Browsers limit how often an entry is replaced: Safari to 100 times in 30 s. */
const PLACE_KEPT_AFTER_MS = 400;

export class Router {
  #routes;
  #main;
  #admit;
  #onShown;
  #leaving = new AbortController();
  /** @type {number | undefined} */
  #placeTimer;

  /**
   * @param {object} options
   * @param {Array<[RegExp, object]>} options.routes patterns of paths, each with its page; the last one takes all
   * @param {HTMLElement} options.main where pages are mounted
   * @param {(page: object) => string | null} options.admit an address to show instead, or null
   * @param {() => void} options.onShown called after each change of page
   */
  constructor({ routes, main, admit, onShown }) {
    this.#routes = routes;
    this.#main = main;
    this.#admit = admit;
    this.#onShown = onShown;
  }

  start() {
    history.scrollRestoration = "manual";
    document.addEventListener("click", (event) => this.#followed(event));
    addEventListener("popstate", () => this.#popped());
    addEventListener("scroll", () => this.#keepPlaceSoon(), { passive: true });
    document.addEventListener("focusin", () => this.#keepPlaceSoon());
    this.#show({ place: history.state, keepFocus: true });
  }

  /**
   * Goes to an address of these pages.
   * @param {object} [how]
   * @param {boolean} [how.replace] leaves no entry to come back to
   * @param {{ y: number, row?: string }} [how.place] where the page was left
   */
  navigate(address, { replace = false, place = null } = {}) {
    this.#keepPlace();
    const lists = this.#listsWithThis();
    if (replace) history.replaceState({ lists }, "", address);
    else history.pushState({ lists }, "", address);
    this.#show({ place });
  }

  /** The page of the present address. */
  pageHere() {
    return this.#match(location.pathname).page;
  }

  /** Shows the present address again, for instance because another user is signed in. */
  again() {
    this.#show({ place: { y: scrollY }, keepFocus: !this.#main.contains(document.activeElement) });
  }

  #show({ place, keepFocus = false }) {
    const { page, params } = this.#match(location.pathname);
    const instead = this.#admit(page);
    if (instead) return this.navigate(instead, { replace: true });
    this.#leaving.abort();
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    const root = document.createElement("div");
    root.className = `page page-${page.name}`;
    this.#main.replaceChildren(root);
    const focused = document.activeElement;
    const mayFocus = () => !keepFocus && isAtBeginning(root, focused);
    this.setTitle(page.title);
    const y = place?.y ?? 0;
    let restored = false;
    page.mount({
      root,
      params,
      query: new URLSearchParams(location.search),
      signal,
      place,
      navigate: (address, options) => this.navigate(address, options),
      setTitle: (title) => this.setTitle(title),
      listAddress: (path) => history.state?.lists?.[path]?.address ?? path,
      ready: () => {
        if (restored) return;
        restored = true;
        toHeight(y);
        if (place?.row && mayFocus()) focusRow(root, place.row);
      },
    });
    if (y === 0) toHeight(0);
    whenHeading(root, signal, (heading) => mayFocus() && focusHeading(heading));
    this.#onShown();
  }

  setTitle(title) {
    setText(document.querySelector("title"), title ? `${title} · ${SITE_NAME}` : SITE_NAME);
  }

  #match(path) {
    for (const [pattern, page] of this.#routes) {
      const match = pattern.exec(path);
      if (match) return { page, params: match.groups ?? {} };
    }
    throw new Error("the last route takes every path");
  }

  #popped() {
    clearTimeout(this.#placeTimer); // it would write the place of the page that was left
    this.#show({ place: history.state });
  }

  #followed(event) {
    if (
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.origin !== location.origin || link.hasAttribute("download"))
      return;
    if (!this.#routes.slice(0, -1).some(([pattern]) => pattern.test(link.pathname))) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    link.focus({ preventScroll: true }); // some browsers do not focus a link that is clicked
    const place = link.hasAttribute("data-back") ? history.state?.lists?.[link.pathname] : null;
    this.navigate(link.pathname + link.search, { replace: link.href === location.href, place });
  }

  #keepPlaceSoon() {
    clearTimeout(this.#placeTimer);
    this.#placeTimer = setTimeout(() => this.#keepPlace(), PLACE_KEPT_AFTER_MS);
  }

  #keepPlace() {
    clearTimeout(this.#placeTimer);
    history.replaceState({ ...history.state, y: scrollY, row: focusedRowId() }, "");
  }

  /** The lists that were shown on the way to the next entry, the present page included if it is one. */
  #listsWithThis() {
    const lists = history.state?.lists;
    if (!this.pageHere().isList) return lists;
    const { y, row } = history.state;
    const { pathname, search } = location;
    return { ...lists, [pathname]: { address: pathname + search, y, row } };
  }
}

function toHeight(y) {
  window.scrollTo({ top: y, behavior: "instant" });
}

/** Puts the focus back on the row that had it. */
function focusRow(root, id) {
  const link = rowLink(root, id);
  if (!link) return;
  link.focus({ preventScroll: true });
  const { top, bottom } = link.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) link.scrollIntoView({ block: "center" });
}

/** Calls back with the heading of a page, at once or when it is built. */
function whenHeading(root, signal, found) {
  const heading = root.querySelector("h1");
  if (heading) return found(heading);
  const observer = new MutationObserver(() => {
    const late = root.querySelector("h1");
    if (!late) return;
    observer.disconnect();
    found(late);
  });
  observer.observe(root, { childList: true, subtree: true });
  signal.addEventListener("abort", () => observer.disconnect(), { once: true });
}

/** A page begins at its heading, for the keyboard and for screen readers. */
function focusHeading(heading) {
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

/** Whether the user has not moved the focus since a page was mounted: it is where it was then, nowhere, or on the heading. */
function isAtBeginning(root, focusedThen) {
  const { activeElement } = document;
  return [focusedThen, document.body, null, root.querySelector("h1")].includes(activeElement);
}

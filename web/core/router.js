// The router: finds the page of an address, and navigates without loading the document again. Back, forward, reload and links
// to a page work as for any document. Each page is mounted with an AbortSignal, which aborts when the page is left.
//
// The state of a history entry is `{ y, row, lists }`: the scroll position, the id of the row that had the focus, and the address and the position of each list that was shown before this entry, so that a link back to the list restores them.

import { focusedRowId, rowLink, setText } from "./dom.js";

const SITE_NAME = "GitTix";
/** Delay before the position is saved. Browsers limit how often an entry is replaced: Safari to 100 times in 30 s. */
const PLACE_SAVE_DELAY_MS = 400;

export class Router {
  #routes;
  #otherwise;
  #main;
  #redirectFor;
  #onShown;
  #onFilled;
  #pageLifetime = new AbortController();
  /** @type {number | undefined} */
  #placeTimer;

  /**
   * @param {object} options
   * @param {Array<[string, object]>} options.routes addresses with their pages; `{id}` stands for one segment of a path
   * @param {object} options.otherwise the page of all other addresses
   * @param {HTMLElement} options.main the element for pages; at first it holds the server's rendering
   * @param {(page: object) => string | null} options.redirectFor returns an address to show in place of a page, or null
   * @param {() => void} options.onShown called after each change of page
   * @param {() => void} options.onFilled called when the first page has content, and after each change of page
   */
  constructor({ routes, otherwise, main, redirectFor, onShown, onFilled }) {
    this.#routes = routes.map(([address, page]) => [patternOf(address), page]);
    this.#otherwise = otherwise;
    this.#main = main;
    this.#redirectFor = redirectFor;
    this.#onShown = onShown;
    this.#onFilled = onFilled;
  }

  start() {
    history.scrollRestoration = "manual";
    document.addEventListener("click", (event) => this.#onClick(event));
    addEventListener("popstate", () => this.#onPopState());
    addEventListener("scroll", () => this.#savePlaceLater(), { passive: true });
    document.addEventListener("focusin", () => this.#savePlaceLater());
    // The user may have typed or chosen something in the server's rendering already.
    const userInput = userInputOf(this.#main);
    const place = history.state?.y === undefined ? { y: scrollY } : history.state;
    this.#show({ place, keepFocus: true, first: true });
    userInput.restore();
  }

  /**
   * Navigates to an address of these pages.
   * @param {object} [how]
   * @param {boolean} [how.replace] replaces the current history entry
   * @param {{ y: number, row?: string }} [how.place] the position to restore
   */
  navigate(address, { replace = false, place = null } = {}) {
    this.#savePlace();
    const lists = this.#listsForNextEntry();
    if (replace) history.replaceState({ lists }, "", address);
    else history.pushState({ lists }, "", address);
    this.#show({ place });
  }

  /** Returns the page of the current address. */
  currentPage() {
    return this.#match(location.pathname).page;
  }

  /** Builds the page of the current address again, for instance after another user signed in. */
  rebuild() {
    this.#show({ place: { y: scrollY }, keepFocus: !this.#main.contains(document.activeElement) });
  }

  #show({ place, keepFocus = false, first = false }) {
    const { page, params } = this.#match(location.pathname);
    const redirect = this.#redirectFor(page);
    if (redirect) return this.navigate(redirect, { replace: true });
    this.#pageLifetime.abort();
    this.#pageLifetime = new AbortController();
    const { signal } = this.#pageLifetime;
    const root = document.createElement("div");
    root.className = `page page-${page.name}`;
    const before = [...this.#main.childNodes];
    this.#main.append(root);
    if (!first) for (const node of before) node.remove();
    const focused = document.activeElement;
    const mayFocus = () => !keepFocus && isFocusUntouched(root, focused);
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
        scrollToY(y);
        if (place?.row && mayFocus()) focusRow(root, place.row);
      },
    });
    if (first) replaceOnceFilled(before, root, this.#onFilled);
    else this.#onFilled();
    if (y === 0) scrollToY(0);
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
    return { page: this.#otherwise, params: {} };
  }

  #onPopState() {
    clearTimeout(this.#placeTimer); // the timer would save the position of the page that was left
    this.#show({ place: history.state });
  }

  #onClick(event) {
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
    if (!this.#routes.some(([pattern]) => pattern.test(link.pathname))) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    link.focus({ preventScroll: true }); // some browsers do not focus a link that is clicked
    const place = link.hasAttribute("data-back") ? history.state?.lists?.[link.pathname] : null;
    this.navigate(link.pathname + link.search, { replace: link.href === location.href, place });
  }

  #savePlaceLater() {
    clearTimeout(this.#placeTimer);
    this.#placeTimer = setTimeout(() => this.#savePlace(), PLACE_SAVE_DELAY_MS);
  }

  #savePlace() {
    clearTimeout(this.#placeTimer);
    history.replaceState({ ...history.state, y: scrollY, row: focusedRowId() }, "");
  }

  /** Returns the lists for the next history entry: those of the current entry, and the current page if it is a list. */
  #listsForNextEntry() {
    const lists = history.state?.lists;
    if (!this.currentPage().isList) return lists;
    const { y, row } = history.state;
    const { pathname, search } = location;
    return { ...lists, [pathname]: { address: pathname + search, y, row } };
  }
}

/** Removes nodes as soon as `root` has content, so that the server's rendering stays visible while a page loads. */
function replaceOnceFilled(nodes, root, onFilled) {
  const replace = () => {
    for (const node of nodes) node.remove();
    onFilled();
  };
  if (root.childElementCount > 0) return replace();
  const observer = new MutationObserver(() => {
    observer.disconnect();
    replace();
  });
  observer.observe(root, { childList: true });
}

function patternOf(address) {
  return new RegExp(`^${address.replace(/\{(\w+)\}/g, "(?<$1>[^/]+)")}$`);
}

/** Records typed, chosen and focused fields in `host`. `restore` applies them to the new elements with the same ids. */
function userInputOf(host) {
  const userInput = [...host.querySelectorAll("input[id], select[id]")].filter(isChanged);
  const focused = host.querySelector(":focus")?.id;
  return {
    restore() {
      for (const { id, value } of userInput) {
        const element = /** @type {HTMLInputElement | null} */ (document.getElementById(id));
        if (element) element.value = value;
      }
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
    },
  };
}

function isChanged(element) {
  if (element instanceof HTMLSelectElement)
    return [...element.options].some((option) => option.selected !== option.defaultSelected);
  return element.value !== element.defaultValue;
}

function scrollToY(y) {
  window.scrollTo({ top: y, behavior: "instant" });
}

/** Focuses the row that had the focus before. */
function focusRow(root, id) {
  const link = rowLink(root, id);
  if (!link) return;
  link.focus({ preventScroll: true });
  const { top, bottom } = link.getBoundingClientRect();
  if (top < 0 || bottom > innerHeight) link.scrollIntoView({ block: "center" });
}

/** Calls `found` with the heading of a page, at once or when the heading is built. */
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

/** Focuses the heading, so that keyboard and screen reader users start at the beginning of the page. */
function focusHeading(heading) {
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

/** Whether the user has not moved the focus since the page was mounted: it is unchanged, on the body, or on the heading. */
function isFocusUntouched(root, focusedThen) {
  const { activeElement } = document;
  return [focusedThen, document.body, null, root.querySelector("h1")].includes(activeElement);
}

// Which page an address shows, and moving between them without loading the document again: back, forward, reload and deep
// links work as they do for any page. Each page lives as long as its signal.

import { setText } from "./dom.js";

const SITE_NAME = "GitTix";
const SCROLL_KEPT_AFTER_MS = 200;

export class Router {
  #routes;
  #main;
  #admit;
  #onShown;
  #leaving = new AbortController();
  /** @type {number | undefined} */
  #scrollTimer;

  /**
   * @param {object} options
   * @param {Array<[RegExp, object]>} options.routes patterns of paths, each with its page; the last one takes all
   * @param {HTMLElement} options.main where pages are mounted
   * @param {(page: object) => string | null} options.admit an address to show instead, or null
   * @param {() => void} options.onShown told after each change of page
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
    addEventListener("popstate", () => this.#show({ scrollTo: history.state?.y ?? 0 }));
    addEventListener("scroll", () => this.#keepScroll(), { passive: true });
    this.#show({ scrollTo: history.state?.y ?? 0, keepFocus: true });
  }

  /** Goes to an address of these pages; `replace` leaves no entry to come back to. */
  navigate(address, { replace = false } = {}) {
    clearTimeout(this.#scrollTimer);
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#show({ scrollTo: 0 });
  }

  /** The page of the present address. */
  pageHere() {
    return this.#match(location.pathname).page;
  }

  /** Shows the present address anew, for instance since who is signed in changed. */
  again() {
    this.#show({ scrollTo: scrollY, keepFocus: true });
  }

  #show({ scrollTo, keepFocus = false }) {
    const { page, params } = this.#match(location.pathname);
    const instead = this.#admit(page);
    if (instead) return this.navigate(instead, { replace: true });
    this.#leaving.abort();
    this.#leaving = new AbortController();
    const root = document.createElement("div");
    root.className = `page page-${page.name}`;
    this.#main.replaceChildren(root);
    this.setTitle(page.title);
    let restored = false;
    page.mount({
      root,
      params,
      query: new URLSearchParams(location.search),
      signal: this.#leaving.signal,
      navigate: (address, options) => this.navigate(address, options),
      setTitle: (title) => this.setTitle(title),
      ready: () => {
        if (restored) return;
        restored = true;
        toHeight(scrollTo);
      },
    });
    if (scrollTo === 0) toHeight(0);
    if (!keepFocus) focusHeading(root, this.#main);
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
    this.navigate(link.pathname + link.search, { replace: link.href === location.href });
  }

  #keepScroll() {
    clearTimeout(this.#scrollTimer);
    this.#scrollTimer = setTimeout(
      () => history.replaceState({ ...history.state, y: scrollY }, ""),
      SCROLL_KEPT_AFTER_MS,
    );
  }
}

function toHeight(y) {
  window.scrollTo({ top: y, behavior: "instant" });
}

/** A new page begins at its heading, for the keyboard and for screen readers. */
function focusHeading(root, main) {
  const heading = root.querySelector("[autofocus]") ?? root.querySelector("h1") ?? main;
  if (!heading.matches("input, button, a, select")) heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

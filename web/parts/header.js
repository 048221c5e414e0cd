// The shell around every page: the links of the header for signed-in and signed-out users, the mark of the current page, and
// the message about a lost connection.

import { fill, h, setAttribute, setText, shellElement } from "../core/dom.js";
import { isAborted } from "../net/api.js";
import { signOut } from "../state/session.js";
import { store } from "../state/store.js";
import { refusalText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";
import { announce } from "./announcer.js";
import { icon } from "./icon.js";

const SIGNED_OUT = [
  ["/signup", screens.signUp],
  ["/signin", screens.signIn],
];
/** Links for signed-in users. A third entry names the icon that replaces the text on a phone. */
const SIGNED_IN = [
  ["/orders", screens.orders],
  ["/tickets/new", texts.navigation.sell],
  ["/account", screens.account, "account"],
];

/** Further pages of a section, by the address of the section's link. */
const SECTIONS = {
  "/tickets/new": /^\/listings$/,
  "/orders": /^\/orders\//,
};

/** A lost connection is shown after this delay, so that short interruptions are not shown. */
const LOST_SHOWN_AFTER_MS = 1_500;

export function startHeader({ navigate }) {
  const nav = shellElement("nav");
  const account = shellElement("account");

  async function leave(event) {
    const button = event.currentTarget;
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await signOut();
      navigate("/");
      announce(texts.navigation.signedOut);
    } catch (error) {
      button.removeAttribute("aria-busy");
      if (!isAborted(error)) announce(refusalText(error).what);
    }
  }

  function showUser(user) {
    const links = (user ? SIGNED_IN : SIGNED_OUT).map(([href, label, drawing]) =>
      h("a", { href, class: "nav-link" }, labelled(label, drawing)),
    );
    fill(
      nav,
      links,
      user &&
        h(
          "button",
          { type: "button", class: "nav-link", on: { click: leave } },
          labelled(texts.navigation.signOut, "leave"),
        ),
    );
    fill(
      account,
      user ? [texts.navigation.signedInAs, h("a", { href: "/account" }, user.email)] : [],
    );
    markCurrent();
  }

  store.watch("user", showUser);
  watchConnection();
}

function labelled(label, drawing) {
  if (!drawing) return label;
  return [icon(drawing), h("span", { class: "nav-words" }, label)];
}

/** Marks the link of the current page. */
export function markCurrent() {
  for (const link of document.querySelectorAll("#nav a")) {
    setAttribute(link, "aria-current", currentOf(link.getAttribute("href")));
  }
}

/** Returns `aria-current` for a link: it leads to the current page, or to the section of the current page. */
function currentOf(href) {
  if (href === location.pathname) return "page";
  return SECTIONS[href]?.test(location.pathname) ? "true" : false;
}

function watchConnection() {
  const line = shellElement("connection");
  const text = shellElement("connection-text");
  let timer = /** @type {number | undefined} */ (undefined);

  function show() {
    const words = connectionWords(store.polling);
    if (line.hidden || text.textContent !== words) announce(words);
    setText(text, words);
    setAttribute(line, "data-polling", store.polling !== false);
    line.hidden = false;
  }

  store.watch("connection", (status) => {
    clearTimeout(timer);
    setAttribute(document.documentElement, "data-connection", status);
    if (status === "live") {
      if (!line.hidden) announce(texts.navigation.connectedAgain);
      line.hidden = true;
      return;
    }
    timer = setTimeout(show, LOST_SHOWN_AFTER_MS);
  });
  store.watch("polling", () => !line.hidden && store.connection !== "live" && show());
}

/** Returns the message while there is no live connection; see `Store.polling`. */
function connectionWords(polling) {
  if (polling === false) return texts.navigation.connectionLost;
  return polling ? texts.navigation.polling : texts.navigation.notLive;
}

// What is on every page: the header's links for who is signed in or out, the mark of the page one is on, and the line that
// says when the connection is lost.

import { fill, h, setAttribute, setText, shellElement } from "../core/dom.js";
import { isAborted } from "../net/api.js";
import { signOut } from "../state/session.js";
import { store } from "../state/store.js";
import { inWords } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";
import { announce } from "./announcer.js";
import { icon } from "./icon.js";

const SIGNED_OUT = [
  ["/signup", screens.signUp],
  ["/signin", screens.signIn],
];
/** The last entry is the drawing that stands for the words on a phone. */
const SIGNED_IN = [
  ["/orders", screens.orders],
  ["/tickets/new", texts.navigation.sell],
  ["/account", screens.account, "account"],
];

/** The other pages of a section, by the address of its link. */
const SECTIONS = {
  "/tickets/new": /^\/listings$/,
  "/orders": /^\/orders\//,
};

/** A short break is nobody's business; only one that lasts is shown. */
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
      if (!isAborted(error)) announce(inWords(error).what);
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

/** Marks the link of the page that is shown. */
export function markCurrent() {
  for (const link of document.querySelectorAll("#nav a")) {
    setAttribute(link, "aria-current", currentOf(link.getAttribute("href")));
  }
}

/** `aria-current` of a link: it leads to this page, or to the section that this page is in. */
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

/** What the line says while there is no live connection; see `Store.polling`. */
function connectionWords(polling) {
  if (polling === false) return texts.navigation.connectionLost;
  return polling ? texts.navigation.polling : texts.navigation.notLive;
}

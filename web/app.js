// Where it all begins: who is signed in, the live connection, and the page that the address names.

import { shellElement } from "./core/dom.js";
import { Router } from "./core/router.js";
import { onRefusal, Problem } from "./net/api.js";
import { backoffMs } from "./net/backoff.js";
import { accountPage } from "./pages/account.js";
import { forSale } from "./pages/for-sale.js";
import { listingsPage } from "./pages/listings.js";
import { newTicket } from "./pages/new-ticket.js";
import { notFound } from "./pages/not-found.js";
import { orderPage } from "./pages/order.js";
import { ordersPage } from "./pages/orders.js";
import { ownPath, signInPage, signUpPage } from "./pages/sign.js";
import { ticketPage } from "./pages/ticket.js";
import { watchCoveredTop } from "./parts/covered.js";
import { markCurrent, startHeader } from "./parts/header.js";
import { endSessionNotice, sayWhoIsSignedIn } from "./parts/session-notice.js";
import { showTrouble } from "./parts/trouble.js";
import { live } from "./state/live.js";
import { onSessionChange, refreshQuietly, refreshUser, watchSession } from "./state/session.js";
import { store } from "./state/store.js";

/** The server has the same table (`PAGES` in src/http/pages/mod.rs), and a test compares them. The first match counts. */
/** @type {Array<[string, any]>} */
const ROUTES = [
  ["/", forSale],
  ["/tickets/new", newTicket],
  ["/tickets/{id}", ticketPage],
  ["/listings", listingsPage],
  ["/orders", ordersPage],
  ["/orders/{id}", orderPage],
  ["/signup", signUpPage],
  ["/signin", signInPage],
  ["/account", accountPage],
];

const main = shellElement("main");
const router = new Router({
  routes: ROUTES,
  otherwise: notFound,
  main,
  admit,
  onShown,
  onFilled: () => setApp("shown"),
});
let started = false; // whether the first page was shown
let unanswered = false; // whether a question who is signed in got no answer

/** Where somebody is sent who has no business on a page; null where they may be. */
function admit(page) {
  if (page.needsUser && store.user === null) {
    return `/signin?next=${encodeURIComponent(location.pathname + location.search)}`;
  }
  if (page.forSignedOut && store.user)
    return ownPath(new URLSearchParams(location.search).get("next"));
  return null;
}

function onShown() {
  markCurrent();
  endSessionNotice();
}

/** How far the page has come: what the server has rendered says that something is missing until it is `shown`. */
function setApp(state) {
  document.documentElement.dataset.app = state;
}

function begin() {
  setApp("running");
  watchCoveredTop();
  startHeader({ navigate: (address) => router.navigate(address) });
  onSessionChange(sessionChanged);
  onRefusal(({ code }) => {
    if (code === "not_signed_in") store.setUser(null);
    if (code === "other_user") otherUserRefused();
  });
  watchSession();
  store.watch("user", userChanged);
  store.watch(
    "connection",
    (status) => status === "live" && store.user === undefined && unanswered && refreshQuietly(),
  );
  store.watch("foreign", refreshQuietly);
  hideWhileAway();
  const known = refreshUser();
  live.start();
  const { needsUser, forSignedOut } = router.pageHere();
  // A list need not wait for who is looking at it.
  if (!needsUser && !forSignedOut) start();
  learnUser(known);
}

/** Shows the first page, which may have waited until it was known who is signed in. */
function start() {
  if (started) return;
  started = true;
  router.start();
}

/** Waits until it is known who is signed in, and asks again while there is no answer. A page that waits for it says so. */
async function learnUser(known) {
  for (let failures = 0; store.user === undefined; failures += 1) {
    try {
      await (failures === 0 ? known : refreshUser());
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      unanswered = true;
      if (!started && failures === 0) showProblem(problem);
      await new Promise((resume) => setTimeout(resume, backoffMs(failures)));
    }
  }
}

function showProblem(problem) {
  showTrouble(main, problem, () => location.reload());
  setApp("shown");
}

function userChanged(user) {
  if (started) leavePrivatePage(user);
  else start();
}

/** A page that was built for another user is built again; a user who was sent to the sign-in form returns to their page. */
function sessionChanged(how) {
  live.reconnect();
  if (how === "replaced" || (how === "returned" && router.pageHere().forSignedOut)) router.again();
  if (how === "replaced" && store.user) sayWhoIsSignedIn(store.user, { nothingDone: false });
}

/** The server refused a request because this page showed another user. Nothing is retried: the person decides again. */
async function otherUserRefused() {
  try {
    await refreshUser();
  } catch {
    return; // the refusal is shown where the request was made
  }
  if (store.user) sayWhoIsSignedIn(store.user, { nothingDone: true });
}

/**
 * The back button may show the document as it was when it was left, and another user may have signed in since. It stays hidden
 * until that is known. Without an answer it is loaded again.
 */
function hideWhileAway() {
  addEventListener("pagehide", () => {
    main.style.visibility = "hidden";
  });
  addEventListener("pageshow", async ({ persisted }) => {
    if (!persisted) return;
    try {
      await refreshUser();
      main.style.visibility = "";
    } catch {
      location.reload();
    }
  });
}

/** The session ended under an open page: what is private to somebody is shown no longer. */
function leavePrivatePage(user) {
  if (user === null && router.pageHere().needsUser) router.again();
}

begin();

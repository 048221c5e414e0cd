// The entry point: determines the signed-in user, opens the live connection, and shows the page of the address.

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
import { forgotPage, resetPage } from "./pages/reset.js";
import { ownPath, signInPage, signUpPage } from "./pages/sign.js";
import { ticketPage } from "./pages/ticket.js";
import { verifyPage } from "./pages/verify.js";
import { watchCoveredTop } from "./parts/covered.js";
import { markCurrent, startHeader } from "./parts/header.js";
import { removeSessionNotice, showSessionNotice } from "./parts/session-notice.js";
import { showLoadError } from "./parts/trouble.js";
import { updateVerifyBanner } from "./parts/verify-banner.js";
import { live } from "./state/live.js";
import { onSessionChange, refreshQuietly, refreshUser, watchSession } from "./state/session.js";
import { store } from "./state/store.js";

/** Addresses and their pages; the first match is used. The server has its addresses from this table (`build.rs`). */
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
  ["/forgot", forgotPage],
  ["/reset", resetPage],
  ["/verify", verifyPage],
];

const main = shellElement("main");
const router = new Router({
  routes: ROUTES,
  otherwise: notFound,
  main,
  redirectFor,
  onShown,
  onFilled,
});
let started = false; // whether the first page was shown
let userRequestFailed = false; // whether a request for the signed-in user got no response

/** Returns the address to show in place of a page that the user may not see, or null. */
function redirectFor(page) {
  if (page.needsUser && store.user === null) {
    return `/signin?next=${encodeURIComponent(location.pathname + location.search)}`;
  }
  if (page.forSignedOut && store.user)
    return ownPath(new URLSearchParams(location.search).get("next"));
  return null;
}

function onShown() {
  markCurrent();
  removeSessionNotice();
}

function onFilled() {
  setAppState("shown");
  updateVerifyBanner();
}

/** Sets the state of the script. Until it is `shown`, a style sheet may show that the page is incomplete (styles/served.css). */
function setAppState(state) {
  document.documentElement.dataset.app = state;
}

function startApp() {
  setAppState("running");
  watchCoveredTop();
  startHeader({ navigate: (address) => router.navigate(address) });
  onSessionChange(onSessionChanged);
  onRefusal(({ code }) => {
    if (code === "not_signed_in") store.setUser(null);
    if (code === "other_user") onOtherUserRefusal();
  });
  watchSession();
  store.watch("user", onUserChanged);
  store.watch(
    "connection",
    (status) =>
      status === "live" && store.user === undefined && userRequestFailed && refreshQuietly(),
  );
  store.watch("otherUser", refreshQuietly);
  hideWhileCached();
  const known = refreshUser();
  live.start();
  const { needsUser, forSignedOut } = router.currentPage();
  // A public page does not wait for the signed-in user.
  if (!needsUser && !forSignedOut) start();
  waitForUser(known);
}

/** Shows the first page, at most once. Private pages and the sign-in pages wait until the user is known. */
function start() {
  if (started) return;
  started = true;
  router.start();
}

/** Requests the signed-in user until a response arrives. A page that waits for it shows the error. */
async function waitForUser(known) {
  for (let failures = 0; store.user === undefined; failures += 1) {
    try {
      await (failures === 0 ? known : refreshUser());
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      userRequestFailed = true;
      if (!started && failures === 0) showProblem(problem);
      await new Promise((resume) => setTimeout(resume, backoffMs(failures)));
    }
  }
}

function showProblem(problem) {
  showLoadError(main, problem, () => location.reload());
  setAppState("shown");
}

function onUserChanged(user) {
  if (started) leavePrivatePage(user);
  else start();
}

/** Rebuilds a page that was built for another user. Leads a user who had to sign in again back to the page. */
function onSessionChanged(how) {
  live.reconnect();
  if (how === "replaced" || (how === "returned" && router.currentPage().forSignedOut))
    router.rebuild();
  if (how === "replaced" && store.user) showSessionNotice(store.user, { nothingDone: false });
}

/** Handles a refusal because this page showed another user. Retries nothing: the user decides again. */
async function onOtherUserRefusal() {
  try {
    await refreshUser();
  } catch {
    return; // the caller of the refused request shows the refusal
  }
  if (store.user) showSessionNotice(store.user, { nothingDone: true });
}

/**
 * Hides a page that the back button restores until the signed-in user is known, because another user may have signed in
 * meanwhile. Loads the document again if no response arrives.
 */
function hideWhileCached() {
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

/** Leaves a private page when the session ends. */
function leavePrivatePage(user) {
  if (user === null && router.currentPage().needsUser) router.rebuild();
}

startApp();

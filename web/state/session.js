// Who is signed in: asked at the start, when another tab of this browser signs in or out, when a tab gets the focus or is shown
// again, and when the server refuses a request because another user is signed in.

import { forgetAll, keepFor } from "../core/kept.js";
import { request } from "../net/api.js";
import { once } from "../net/once.js";
import { store } from "./store.js";

// What one tab sends to the others.
const CHANGED = "changed";
const SIGNED_OUT = "signed-out";

const changed = new EventTarget();
/** @type {Promise<any> | null} */
let newest = null; // the newest question who is signed in, unless this tab has signed in or out since
/** @type {import("./store.js").User | null} */
let lastUser = null; // who was signed in last, unless that user signed out in this tab
/** @type {Promise<any> | null} */
let updating = null; // a change of the account that this tab has sent and that has no answer yet
let renewed = false; // whether another tab may have renewed the session: the live connection belongs to the former one then
/** @type {BroadcastChannel | null} */
let otherTabs = null;

// Before every other listener: a page that is built for a user reads that user's drafts.
store.watch("user", (user) => keepFor(user?.id ?? null));

/**
 * Calls back after who is signed in changed, when the live connection has to be opened again.
 * @param {(how: "here" | "returned" | "replaced" | "elsewhere") => void} listener `here`: by an act in this tab; `returned`: the user whom
 * this tab showed before is signed in again; `replaced`: another user is signed in than this tab showed
 */
export function onSessionChange(listener) {
  changed.addEventListener("change", (event) =>
    listener(/** @type {CustomEvent} */ (event).detail),
  );
}

/** Asks again who is signed in whenever another tab of this browser may have changed it. */
export function watchSession() {
  openChannel();
  document.addEventListener(
    "visibilitychange",
    () => document.visibilityState === "visible" && refreshQuietly(),
  );
  addEventListener("focus", refreshQuietly); // of two windows side by side, both are visible all the time
  addEventListener("pagehide", closeChannel); // a page with an open channel may not be kept for the back button
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) openChannel(); // `app.js` asks who is signed in before it shows the page
  });
}

/** Browsers without BroadcastChannel learn it by the other events, or by a refusal. */
function openChannel() {
  if (otherTabs || typeof BroadcastChannel === "undefined") return;
  otherTabs = new BroadcastChannel("gittix-session");
  otherTabs.addEventListener("message", ({ data }) => {
    if (data === SIGNED_OUT) forgetAll();
    renewed = true;
    refreshQuietly();
  });
}

function closeChannel() {
  otherTabs?.close();
  otherTabs = null;
}

/** Asks the server who is signed in. Of several questions at once the answer to the newest counts. @throws {Problem} */
export function refreshUser() {
  const asking = ask();
  newest = asking;
  return asking;

  async function ask() {
    // A change of the password ends the session, and its answer holds the cookie of the next one.
    await updating?.catch(() => {});
    const { data } = await request("GET", "/api/users/currentuser");
    if (newest !== asking) return newest;
    const before = store.user;
    const user = data.currentUser;
    const how =
      user && lastUser ? (user.id === lastUser.id ? "returned" : "replaced") : "elsewhere";
    lastUser = user ?? lastUser;
    store.setUser(user);
    if (before !== undefined && (renewed || before?.id !== user?.id)) emitChange(how);
    renewed = false;
  }
}

/** Asks the server who is signed in; without an answer, what was known stays. */
export function refreshQuietly() {
  refreshUser().catch(() => {});
}

/** @throws {Problem} */
export async function signUp(email, password) {
  enter((await request("POST", "/api/users/signup", { body: { email, password } })).data);
}

/** @throws {Problem} */
export async function signIn(email, password) {
  enter((await request("POST", "/api/users/signin", { body: { email, password } })).data);
}

/** @throws {Problem} */
export async function signOut() {
  await request("POST", "/api/users/signout", { body: {} });
  forgetAll();
  enter(null);
}

/** Changes the email address or the password. @throws {Problem} */
export async function updateUser(changes) {
  updating = once("PUT", "/api/users/currentuser", changes, { secret: true }).finally(() => {
    updating = null;
  });
  const { data } = await updating;
  if (store.user?.id === data.id) store.setUser(data);
  otherTabs?.postMessage(CHANGED); // a new password ends the session that they know
  emitChange("here");
}

function enter(user) {
  newest = null;
  lastUser = user;
  store.setUser(user);
  otherTabs?.postMessage(user ? CHANGED : SIGNED_OUT);
  emitChange("here");
}

function emitChange(how) {
  changed.dispatchEvent(new CustomEvent("change", { detail: how }));
}

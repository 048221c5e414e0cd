// The signed-in user. The page requests it at the start, when another tab of this browser signs in or out, when the tab gets
// the focus or is shown again, and when the server refuses a request because another user is signed in.

import { forgetAll, keepFor } from "../core/kept.js";
import { request } from "../net/api.js";
import { once } from "../net/once.js";
import { store } from "./store.js";

// Messages between tabs.
const CHANGED = "changed";
const SIGNED_OUT = "signed-out";

const changed = new EventTarget();
/** @type {Promise<any> | null} */
let newestRequest = null; // the newest request for the user, unless this tab has signed in or out since
/** @type {import("./store.js").User | null} */
let lastUser = null; // the last signed-in user, unless that user signed out in this tab
/** @type {Promise<any> | null} */
let pendingUpdate = null; // a change of the account that was sent and has no response yet
let mayBeRenewed = false; // whether another tab may have renewed the session, so that the live connection has the earlier one
/** @type {BroadcastChannel | null} */
let otherTabs = null;

// This is the first listener: a page that is built for a user reads that user's drafts.
store.watch("user", (user) => keepFor(user?.id ?? null));

/**
 * Calls `listener` after a change of the session, when the live connection must be opened again.
 * @param {(how: "here" | "returned" | "replaced" | "elsewhere") => void} listener `here`: this tab changed the session;
 * `returned`: the user whom this tab showed before is signed in again; `replaced`: a user other than the one whom this tab
 * showed is signed in; `elsewhere`: any other change
 */
export function onSessionChange(listener) {
  changed.addEventListener("change", (event) =>
    listener(/** @type {CustomEvent} */ (event).detail),
  );
}

/** Requests the signed-in user whenever another tab of this browser may have changed it. */
export function watchSession() {
  openChannel();
  document.addEventListener(
    "visibilitychange",
    () => document.visibilityState === "visible" && refreshQuietly(),
  );
  addEventListener("focus", refreshQuietly); // two windows side by side are both visible all the time
  addEventListener("pagehide", closeChannel); // browsers may refuse to keep a page with an open channel for the back button
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) openChannel(); // `app.js` requests the user before it shows the page
  });
}

/** Opens the channel to other tabs. Browsers without BroadcastChannel use the other events, or a refusal. */
function openChannel() {
  if (otherTabs || typeof BroadcastChannel === "undefined") return;
  otherTabs = new BroadcastChannel("gittix-session");
  otherTabs.addEventListener("message", ({ data }) => {
    if (data === SIGNED_OUT) forgetAll();
    mayBeRenewed = true;
    refreshQuietly();
  });
}

function closeChannel() {
  otherTabs?.close();
  otherTabs = null;
}

/** Requests the signed-in user. Of several requests at the same time, the response to the newest is used. @throws {Problem} */
export function refreshUser() {
  const pending = fetchUser();
  newestRequest = pending;
  return pending;

  async function fetchUser() {
    // A change of the password ends the session, and its response sets the cookie of the next session.
    await pendingUpdate?.catch(() => {});
    const { data } = await request("GET", "/api/users/currentuser");
    if (newestRequest !== pending) return newestRequest;
    const before = store.user;
    const user = data.currentUser;
    const how =
      user && lastUser ? (user.id === lastUser.id ? "returned" : "replaced") : "elsewhere";
    lastUser = user ?? lastUser;
    store.setUser(user);
    if (before !== undefined && (mayBeRenewed || before?.id !== user?.id)) emitChange(how);
    mayBeRenewed = false;
  }
}

/** Requests the signed-in user. Without a response, the known user stays. */
export function refreshQuietly() {
  refreshUser().catch(() => {});
}

/** @throws {Problem} */
export async function signUp(email, password) {
  setSession((await request("POST", "/api/users/signup", { body: { email, password } })).data);
}

/** @throws {Problem} */
export async function signIn(email, password) {
  setSession((await request("POST", "/api/users/signin", { body: { email, password } })).data);
}

/** @throws {Problem} */
export async function signOut() {
  await request("POST", "/api/users/signout", { body: {} });
  forgetAll();
  setSession(null);
}

/** Confirms an email address with the token of a mail. Resolves to the user. @throws {Problem} */
export async function verifyEmail(token) {
  const { data } = await request("POST", "/api/users/verify", { body: { token } });
  if (store.user?.id === data.id) store.setUser(data);
  otherTabs?.postMessage(CHANGED);
  return data;
}

/** Sends the mail that confirms the email address again. @throws {Problem} */
export async function resendVerification() {
  await request("POST", "/api/users/verify/resend", { body: {} });
}

/** Requests a mail with a link that sets a new password. @throws {Problem} */
export async function requestReset(email) {
  await request("POST", "/api/users/reset", { body: { email } });
}

/** Sets a new password with the token of a mail, and signs in. @throws {Problem} */
export async function resetPassword(token, password) {
  setSession(
    (await request("POST", "/api/users/reset/confirm", { body: { token, password } })).data,
  );
}

/** Changes the email address or the password. @throws {Problem} */
export async function updateUser(changes) {
  pendingUpdate = once("PUT", "/api/users/currentuser", changes, { secret: true }).finally(() => {
    pendingUpdate = null;
  });
  const { data } = await pendingUpdate;
  if (store.user?.id === data.id) store.setUser(data);
  otherTabs?.postMessage(CHANGED); // a new password ends the session of the other tabs
  emitChange("here");
}

function setSession(user) {
  newestRequest = null;
  lastUser = user;
  store.setUser(user);
  otherTabs?.postMessage(user ? CHANGED : SIGNED_OUT);
  emitChange("here");
}

function emitChange(how) {
  changed.dispatchEvent(new CustomEvent("change", { detail: how }));
}

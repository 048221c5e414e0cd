// Who is signed in: asked at the start, after signing in or out, and when a tab that slept comes back.

import { request } from "../net/api.js";
import { once } from "../net/once.js";
import { store } from "./store.js";

const changed = new EventTarget();

/** Calls back after this tab signed in or out, when the live connection has to be opened anew. */
export function onSessionChange(listener) {
  changed.addEventListener("change", listener);
}

/** Asks the server who is signed in. @throws {Problem} */
export async function refreshUser() {
  const { data } = await request("GET", "/api/users/currentuser");
  const before = store.user;
  store.setUser(data.currentUser);
  if (before !== undefined && before?.id !== data.currentUser?.id) changed.dispatchEvent(new Event("change"));
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
  enter(null);
}

/** Changes the email address or the password. @throws {Problem} */
export async function updateUser(changes) {
  const { data } = await once("PUT", "/api/users/currentuser", changes);
  store.setUser(data);
}

function enter(user) {
  store.setUser(user);
  changed.dispatchEvent(new Event("change"));
}

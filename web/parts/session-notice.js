// The notice above a page. It says that the signed-in user is no longer the one for whom the page was shown. It is removed when the page is left. Its
// element in the shell is a live region, so that screen readers announce it.

import { fill, shellElement } from "../core/dom.js";
import { texts } from "../words/texts.js";
import { notice } from "./notice.js";

/** @type {string | null} */
let shownAt = null;

/**
 * @param {import("../state/store.js").User} user
 * @param {object} how
 * @param {boolean} how.nothingDone whether the server refused a request in the name of the former user
 */
export function showSessionNotice(user, { nothingDone }) {
  const { otherUser, nothingDone: notDone, switchAccount } = texts.navigation;
  const what = otherUser(user.email);
  const advice = nothingDone ? `${notDone} ${switchAccount}` : switchAccount;
  fill(place(), notice("warn", what, advice));
  shownAt = location.pathname;
}

/** Removes the notice when another page is shown. */
export function removeSessionNotice() {
  if (shownAt === null || shownAt === location.pathname) return;
  shownAt = null;
  fill(place());
}

function place() {
  return shellElement("session-notice");
}

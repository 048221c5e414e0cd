// The message above the content of every page while the signed-in user has an email address to confirm.

import { fill, h, shellElement } from "../core/dom.js";
import { store } from "../state/store.js";
import { texts } from "../words/texts.js";
import { noticeBox } from "./notice.js";
import { resendButton } from "./resend-button.js";

const element = h("div", { class: "verify-banner", id: "verify-banner" });
/** @type {string | null} */
let shownFor = null;

/**
 * Shows or removes the message. Called when a page has got its content, so that nothing moves while the reader looks at it.
 * The message is in the element of the page, which the router empties for each page.
 */
export function updateVerifyBanner() {
  const { user } = store;
  const address = user?.pendingEmail ?? (user?.emailVerified === false ? user.email : null);
  if (address !== shownFor) fill(element, address && banner(address));
  shownFor = address;
  shellElement("main").prepend(element);
}

function banner(address) {
  const box = noticeBox();
  return h(
    "div",
    { class: "verify-banner-inner" },
    h("p", {}, texts.verify.banner(address)),
    box.element,
    resendButton(box),
  );
}

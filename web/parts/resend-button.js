// The button that sends the mail which confirms the email address again.

import { h } from "../core/dom.js";
import { Problem } from "../net/api.js";
import { resendVerification } from "../state/session.js";
import { store } from "../state/store.js";
import { texts } from "../words/texts.js";

/** Returns the button. It shows the result in `box`. */
export function resendButton(box) {
  const button = h("button", { type: "button", class: "button" }, texts.verify.resend);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      await resendVerification();
      box.say(
        "good",
        texts.verify.resent(store.user?.pendingEmail ?? store.user?.email ?? ""),
        texts.verify.look,
      );
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      box.refuse(problem);
    } finally {
      button.removeAttribute("aria-busy");
    }
  });
  return button;
}

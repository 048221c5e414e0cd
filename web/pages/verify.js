// The page of a link that confirms an email address. It confirms as soon as it is opened.

import { fill, h } from "../core/dom.js";
import { takeToken } from "../core/token.js";
import { Problem } from "../net/api.js";
import { notice, noticeBox } from "../parts/notice.js";
import { resendButton } from "../parts/resend-button.js";
import { verifyEmail } from "../state/session.js";
import { store } from "../state/store.js";
import { screens, texts } from "../words/texts.js";

export const verifyPage = { name: "verify", title: screens.verify, mount };

function mount({ root, signal, ready }) {
  const token = takeToken();
  const box = noticeBox();
  const content = h("div", {});
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, screens.verify),
      box.element,
      content,
    ),
  );
  ready();
  if (token) confirm();
  else refuse();

  async function confirm() {
    box.clear();
    fill(content, h("p", { class: "quiet", "aria-busy": "true" }, texts.verify.working));
    try {
      const user = await verifyEmail(token);
      fill(content, notice("good", texts.verify.done(user.email), "", seeTickets()));
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.code === "invalid_token") return refuse();
      const again = { type: "button", class: "button", on: { click: confirm } };
      fill(content, h("button", again, texts.actions.tryAgain));
      box.refuse(problem);
    }
  }

  /** Shows that the link is not valid. A user whose address is not confirmed can request another mail. */
  function refuse() {
    box.say("bad", texts.verify.invalid, "", seeTickets());
    const offer = () => fill(content, store.user?.emailVerified === false && resendButton(box));
    // The page does not wait for the signed-in user, who may become known later.
    store.watch("user", offer, signal);
    offer();
  }
}

function seeTickets() {
  return h("a", { href: "/" }, texts.actions.seeTickets);
}

// The two pages of a forgotten password: the request for a mail, and the new password with the link of that mail.

import { fill, h } from "../core/dom.js";
import { takeToken } from "../core/token.js";
import { emailField, form, passwordField } from "../parts/form.js";
import { noticeBox } from "../parts/notice.js";
import { requestReset, resetPassword } from "../state/session.js";
import { screens, texts } from "../words/texts.js";

export const forgotPage = { name: "forgot", title: screens.forgot, mount: mountForgot };
export const resetPage = { name: "reset", title: screens.reset, mount: mountReset };

function mountForgot({ root, ready }) {
  const email = emailField();
  const made = form({
    fields: [email],
    button: texts.reset.request,
    busy: texts.reset.requesting,
    send: async (values) => {
      await requestReset(values.email);
      made.box.say("good", texts.reset.requested(values.email), texts.reset.look);
    },
  });
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, screens.forgot),
      h("p", { class: "quiet" }, texts.reset.explanation),
      made.element,
      h(
        "p",
        { class: "quiet" },
        h("a", { href: "/signin", class: "link-alone" }, texts.reset.backToSignIn),
      ),
    ),
  );
  ready();
}

function mountReset({ root, navigate, ready }) {
  const token = takeToken();
  const heading = h("h1", { tabindex: "-1" }, screens.reset);
  const narrow = h("div", { class: "narrow" }, heading);
  fill(root, narrow);
  if (token) narrow.append(resetForm(token, navigate));
  else {
    const box = noticeBox();
    refuse(box);
    narrow.append(box.element);
  }
  ready();
}

function resetForm(token, navigate) {
  const password = passwordField(
    "password",
    texts.form.newPassword,
    { autocomplete: "new-password" },
    texts.form.passwordHint,
  );
  const made = form({
    fields: [password],
    button: texts.reset.set,
    busy: texts.account.saving,
    onRefused: (problem, box) => {
      if (problem.code !== "invalid_token") return false;
      refuse(box);
      return true;
    },
    send: async (values) => {
      await resetPassword(token, values.password);
      navigate("/", { replace: true });
    },
  });
  return made.element;
}

/** Shows that the link is not valid, with the way to a new one. */
function refuse(box) {
  box.say("bad", texts.reset.invalid, "", h("a", { href: "/forgot" }, texts.reset.requestAgain));
}

// The account page: change of the email address or the password, each with the current password.

import { fill, h } from "../core/dom.js";
import { emailField, form, passwordField } from "../parts/form.js";
import { updateUser } from "../state/session.js";
import { store } from "../state/store.js";
import { screens, texts } from "../words/texts.js";

export const accountPage = { name: "account", title: screens.account, needsUser: true, mount };

function mount({ root, ready }) {
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, screens.account),
      h("h2", {}, texts.account.emailHeading),
      emailForm(),
      h("h2", {}, texts.account.passwordHeading),
      passwordForm(),
    ),
  );
  ready();
}

function emailForm() {
  const email = emailField({ value: store.user?.email });
  const currentPassword = passwordField("currentPassword", texts.form.currentPassword, {
    autocomplete: "current-password",
  });
  const made = form({
    fields: [email, currentPassword],
    button: texts.account.changeEmail,
    busy: texts.account.saving,
    onRefused: refused,
    send: async (values) => {
      await updateUser(values);
      currentPassword.input.value = "";
      const pending = store.user?.pendingEmail;
      if (pending) made.box.say("good", texts.account.emailPending(pending), texts.verify.look);
      else made.box.say("good", texts.account.emailUnchanged);
    },
  });
  return made.element;
}

function passwordForm() {
  const fresh = passwordField(
    "password",
    texts.form.newPassword,
    { autocomplete: "new-password" },
    texts.form.passwordHint,
  );
  const currentPassword = passwordField("currentPassword", texts.form.currentPassword, {
    autocomplete: "current-password",
  });
  const made = form({
    fields: [fresh, currentPassword],
    button: texts.account.changePassword,
    busy: texts.account.saving,
    onRefused: refused,
    send: async (values) => {
      await updateUser(values);
      for (const { input } of [fresh, currentPassword]) input.value = "";
      made.box.say("good", texts.account.passwordChanged, texts.account.othersSignedOut);
    },
  });
  return made.element;
}

/** Shows a refusal. Wrong credentials on this page can only mean a wrong password. */
function refused(problem, box) {
  if (problem.code !== "invalid_credentials") return false;
  box.say("bad", texts.account.wrongPassword, texts.account.checkPassword);
  return true;
}

// The account: another email address, another password; each with the present password.

import { fill, h } from "../core/dom.js";
import { field, form, passwordField } from "../parts/form.js";
import { updateUser } from "../state/session.js";
import { store } from "../state/store.js";
import { inWords } from "../words/refusals.js";

export const accountPage = { name: "account", title: "Account", needsUser: true, mount };

function mount({ root, ready }) {
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, "Account"),
      h("h2", {}, "Email address"),
      emailForm(),
      h("h2", {}, "Password"),
      passwordForm(),
    ),
  );
  ready();
}

function emailForm() {
  const email = field("email", "Email", {
    type: "email",
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    value: store.user?.email,
  });
  const present = passwordField("currentPassword", "Present password", {
    autocomplete: "current-password",
  });
  const made = form({
    fields: [email, present],
    button: "Change email address",
    busy: "Changing…",
    onRefused: refused,
    send: async (values) => {
      await updateUser(values);
      present.input.value = "";
      made.box.say("good", "Changed.", `You sign in as ${store.user?.email} from now on.`);
    },
  });
  return made.element;
}

function passwordForm() {
  const fresh = passwordField(
    "password",
    "New password",
    { autocomplete: "new-password" },
    "8 to 128 characters",
  );
  const present = passwordField("currentPassword", "Present password", {
    autocomplete: "current-password",
  });
  const made = form({
    fields: [fresh, present],
    button: "Change password",
    busy: "Changing…",
    onRefused: refused,
    send: async (values) => {
      await updateUser(values);
      for (const { input } of [fresh, present]) input.value = "";
      made.box.say("good", "Changed.", "Your other devices were signed out.");
    },
  });
  return made.element;
}

/** Here the wrong thing can only be the password. */
function refused(problem, box) {
  if (problem.code !== "invalid_credentials") return false;
  box.say("bad", "That is not your present password.", inWords(problem).advice);
  return true;
}

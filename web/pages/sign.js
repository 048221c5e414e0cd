// Sign Up and Sign In: email, password, submit; then back to where somebody came from.

import { fill, h } from "../core/dom.js";
import { hasDrafts } from "../core/drafts.js";
import { field, form, passwordField } from "../parts/form.js";
import { signIn, signUp } from "../state/session.js";

export const signUpPage = {
  name: "sign",
  title: "Sign Up",
  forSignedOut: true,
  mount: (context) =>
    mount(context, {
      heading: "Sign Up",
      busy: "Signing up…",
      enter: signUp,
      password: { autocomplete: "new-password", hint: "8 to 128 characters" },
      other: ["Have an account already?", "/signin", "Sign In"],
    }),
};

export const signInPage = {
  name: "sign",
  title: "Sign In",
  forSignedOut: true,
  mount: (context) =>
    mount(context, {
      heading: "Sign In",
      busy: "Signing in…",
      enter: signIn,
      password: { autocomplete: "current-password", hint: "" },
      other: ["New here?", "/signup", "Sign Up"],
    }),
};

function mount({ root, query, navigate, ready }, { heading, busy, enter, password, other }) {
  const next = ownPath(query.get("next"));
  const email = field("email", "Email", {
    type: "email",
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    inputmode: "email",
  });
  const secret = passwordField(
    "password",
    "Password",
    { autocomplete: password.autocomplete },
    password.hint,
  );
  const made = form({
    fields: [email, secret],
    button: "Submit",
    busy,
    send: async (values) => {
      await enter(values.email, values.password);
      navigate(next, { replace: true });
    },
  });
  const [question, href, label] = other;
  const way = next === "/" ? href : `${href}?next=${encodeURIComponent(next)}`;
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, heading),
      next !== "/" &&
        h(
          "p",
          { class: "quiet" },
          hasDrafts()
            ? "Then you are back where you were, and what you typed is kept."
            : "Then you are back where you were.",
        ),
      made.element,
      h("p", { class: "quiet" }, `${question} `, h("a", { href: way }, label)),
    ),
  );
  ready();
}

/** Where to go afterwards: a path of these pages, never another site. */
export function ownPath(next) {
  if (!next?.startsWith("/")) return "/";
  const url = new URL(next, location.origin);
  return url.origin === location.origin ? url.pathname + url.search : "/";
}

// Sign Up and Sign In: email and password. After success the page opens the address in `next`, or the list.

import { fill, h } from "../core/dom.js";
import { hasDrafts } from "../core/drafts.js";
import { emailField, form, passwordField } from "../parts/form.js";
import { signIn, signUp } from "../state/session.js";
import { screens, texts } from "../words/texts.js";

export const signUpPage = {
  name: "sign",
  title: screens.signUp,
  forSignedOut: true,
  mount: (context) =>
    mount(context, {
      heading: screens.signUp,
      button: texts.sign.createAccount,
      busy: texts.sign.creatingAccount,
      reason: texts.sign.continueSignUp,
      enter: signUp,
      password: { autocomplete: "new-password", hint: texts.form.passwordHint },
      other: [texts.sign.haveAccount, "/signin", screens.signIn],
    }),
};

export const signInPage = {
  name: "sign",
  title: screens.signIn,
  forSignedOut: true,
  mount: (context) =>
    mount(context, {
      heading: screens.signIn,
      button: texts.sign.signIn,
      busy: texts.sign.signingIn,
      reason: texts.sign.continueSignIn,
      enter: signIn,
      password: { autocomplete: "current-password", hint: "" },
      other: [texts.sign.noAccount, "/signup", screens.signUp],
      forgot: true,
    }),
};

function mount(
  { root, query, navigate, ready },
  { heading, button, busy, reason, enter, password, other, forgot = false },
) {
  const next = ownPath(query.get("next"));
  const email = emailField();
  const secret = passwordField(
    "password",
    texts.form.password,
    { autocomplete: password.autocomplete },
    password.hint,
  );
  const made = form({
    fields: [email, secret],
    button,
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
        h("p", { class: "quiet" }, hasDrafts() ? `${reason} ${texts.sign.draftSaved}` : reason),
      made.element,
      h("p", { class: "quiet" }, `${question} `, h("a", { href: way }, label)),
      forgot &&
        h(
          "p",
          { class: "quiet" },
          h("a", { href: "/forgot", class: "link-alone" }, screens.forgot),
        ),
    ),
  );
  ready();
}

/** Returns the path to show after sign-in: a path of these pages, never another site. */
export function ownPath(next) {
  if (!next?.startsWith("/")) return "/";
  let url;
  try {
    url = new URL(next, location.origin);
  } catch {
    return "/";
  }
  // As an address, a path that begins with two slashes names another host.
  const isOwn = url.origin === location.origin && !url.pathname.startsWith("//");
  return isOwn ? url.pathname + url.search : "/";
}

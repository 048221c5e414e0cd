// Forms: labelled fields, one request at a time, and refusals beside their fields. A refusal keeps the typed values.

import { h, setAttribute, setText } from "../core/dom.js";
import { isAborted, Problem } from "../net/api.js";
import { refusalText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";
import { noticeBox } from "./notice.js";

let fieldCount = 0;

/** Returns a link to the sign-in page that leads back to this page. */
export function signInLink() {
  return h(
    "a",
    { href: `/signin?next=${encodeURIComponent(location.pathname + location.search)}` },
    screens.signIn,
  );
}

/** Returns a labelled input with space for a hint and an error. `attributes` are set on the input. */
export function field(name, label, attributes = {}, hint = "") {
  fieldCount += 1;
  const id = `field-${name}-${fieldCount}`;
  const error = h("p", { class: "field-error", id: `${id}-error` });
  const describedBy = hint ? `${id}-hint ${id}-error` : `${id}-error`;
  const input = h("input", {
    id,
    name,
    class: "input",
    "aria-describedby": describedBy,
    ...attributes,
  });
  const caption = h("label", { for: id }, label);
  const element = h(
    "div",
    { class: "field" },
    caption,
    hint && h("p", { class: "field-hint", id: `${id}-hint` }, hint),
    input,
    error,
  );
  return {
    element,
    input,
    name,
    setLabel: (text) => setText(caption, text),
    refuse: (message) => {
      setAttribute(input, "aria-invalid", message ? "true" : false);
      setText(error, message ?? "");
    },
  };
}

/** Returns the field of a user's email address. `attributes` are set on the input, in addition to those of every such field. */
export function emailField(attributes = {}) {
  return field("email", texts.form.email, {
    type: "email",
    autocomplete: "username",
    autocapitalize: "none",
    spellcheck: "false",
    inputmode: "email",
    ...attributes,
  });
}

/** Returns a password field with a button that shows its text. */
export function passwordField(name, label, attributes, hint) {
  const made = field(
    name,
    label,
    { type: "password", autocapitalize: "none", spellcheck: "false", ...attributes },
    hint,
  );
  const toggle = h(
    "button",
    {
      type: "button",
      class: "input-toggle",
      "aria-label": texts.form.showLabel(label),
    },
    texts.form.show,
  );
  toggle.addEventListener("click", () => {
    const shown = made.input.type === "password";
    made.input.type = shown ? "text" : "password";
    const { show, hide, showLabel, hideLabel } = texts.form;
    setText(toggle, shown ? hide : show);
    toggle.setAttribute("aria-label", shown ? hideLabel(label) : showLabel(label));
  });
  const row = h("div", { class: "input-row" });
  made.input.replaceWith(row);
  row.append(made.input, toggle);
  return made;
}

/**
 * @typedef {ReturnType<typeof field>} Field
 * @typedef {ReturnType<typeof noticeBox>} NoticeBox
 */

/**
 * Returns the typed texts by the name of their field.
 * @param {Field[]} fields
 * @returns {Record<string, string>}
 */
export function textsByName(fields) {
  return Object.fromEntries(fields.map(({ name, input }) => [name, input.value]));
}

/**
 * Returns a form. `send` gets the values by name. If it throws a `Problem`, the form shows it and focuses the first refused
 * field. While `send` runs, the button shows `busy`, and a second submit does nothing.
 * @param {object} parts
 * @param {Field[]} parts.fields
 * @param {string} parts.button text of the button
 * @param {string} parts.busy text of the button while `send` runs
 * @param {(values: Record<string, string>) => Promise<void>} parts.send
 * @param {HTMLElement[]} [parts.secondary] further buttons
 * @param {(problem: Problem, notice: NoticeBox) => boolean} [parts.onRefused] returns true if it has shown the refusal itself
 */
export function form({ fields, button, busy, send, onRefused, secondary = [] }) {
  const box = noticeBox();
  const submit = h("button", { type: "submit", class: "button button-primary" }, button);
  const element = h(
    "form",
    { class: "form", novalidate: true },
    box.element,
    fields.map((one) => one.element),
    h("div", { class: "form-actions" }, submit, secondary),
  );
  let working = false;

  async function submitted(event) {
    event.preventDefault();
    if (working || submit.getAttribute("aria-disabled") === "true") return;
    working = true;
    begin();
    try {
      await send(textsByName(fields));
    } catch (error) {
      if (!isAborted(error)) refused(error);
    } finally {
      working = false;
      submit.removeAttribute("aria-busy");
      setText(submit, button);
    }
  }

  function begin() {
    box.clear();
    for (const one of fields) one.refuse(null);
    submit.setAttribute("aria-busy", "true");
    setText(submit, busy);
  }

  function refused(problem) {
    if (!(problem instanceof Problem)) throw problem; // a bug, not a refusal: the browser logs it to the console
    if (onRefused?.(problem, box)) return;
    const words = refusalText(problem);
    for (const one of fields) one.refuse(words.fields[one.name]);
    box.say(
      "bad",
      words.what,
      words.advice,
      ...(problem.code === "not_signed_in" ? [signInLink()] : []),
    );
    fields.find(({ name }) => words.fields[name])?.input.focus();
  }

  element.addEventListener("submit", submitted);
  return { element, box, submit };
}

// A form field over a value that may change elsewhere while a user types. A field that was not typed in shows the present
// value. One that was keeps what was typed; if the value was changed meanwhile, both are shown, and the user chooses.

import { fill, h } from "../core/dom.js";
import { texts } from "../words/texts.js";

/**
 * Follows the present value in a field of `form.js`.
 * @param {object} options
 * @param {(present: string) => string} options.question says that the value was changed
 * @param {(ticket: object) => string} options.textOf the present value, as it would be typed
 * @param {(typed: string, ticket: object) => boolean} options.isSame whether what was typed is the present value
 * @param {{ typed: string, base: string } | undefined} options.draft as `draft()` returned it
 * @param {() => void} options.onChange called after the draft changed
 */
export function sharedField(field, { question, textOf, isSame, draft, onChange }) {
  const { input } = field;
  const choices = h("div", { class: "field-conflict", role: "status" });
  let ticket = null;
  let base = null; // the value when the user began to type; null while nothing is typed
  let asked = "";
  if (typeof draft?.typed === "string") {
    base = draft.base;
    input.value = draft.typed;
  }
  field.element.append(choices);

  function hasConflict() {
    return base !== null && base !== textOf(ticket);
  }

  /** Shows the present value where nothing was typed, and the question where it changed under what was typed. */
  function follow(next) {
    ticket = next;
    const before = base;
    if (base !== null && isSame(input.value, ticket)) base = null;
    if (base === null && !isSame(input.value, ticket)) input.value = textOf(ticket);
    ask();
    if (before !== base) onChange();
  }

  function typed() {
    if (isSame(input.value, ticket)) base = null;
    else base ??= textOf(ticket);
    ask();
    onChange();
  }

  function ask() {
    const needed = hasConflict() ? JSON.stringify([textOf(ticket), input.value]) : "";
    if (needed === asked) return; // the buttons keep the focus
    asked = needed;
    fill(choices, hasConflict() ? words() : []);
  }

  function words() {
    const present = textOf(ticket);
    return [
      h("p", {}, question(present)),
      h(
        "p",
        { class: "notice-actions" },
        choice(texts.listing.use(present), () => {
          input.value = present;
          input.dispatchEvent(new Event("input", { bubbles: true }));
        }),
        choice(texts.listing.keep(input.value), () => {
          base = present;
        }),
      ),
    ];
  }

  function choice(label, choose) {
    const chosen = () => {
      choose();
      ask();
      onChange();
      input.focus();
    };
    return h("button", { type: "button", class: "button", on: { click: chosen } }, label);
  }

  input.addEventListener("input", typed);
  return {
    follow,
    hasConflict,
    /** What was typed and over which value; undefined if nothing was. */
    draft: () => (base === null ? undefined : { typed: input.value, base }),
    /** What was sent is saved. What was typed since then is a draft over it. */
    settle: (sent, saved) => {
      base = input.value === sent ? null : textOf(saved);
    },
    focus: () => input.focus(),
  };
}

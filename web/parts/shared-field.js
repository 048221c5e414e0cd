// A form field whose value may change elsewhere while a user types. An untouched field shows the current value. A field that was
// typed in keeps its text; if the value was changed meanwhile, both values are shown, and the user chooses.

import { fill, h } from "../core/dom.js";
import { texts } from "../words/texts.js";

/**
 * Connects a field to the current value.
 * @param {import("./ticket-fields.js").TicketField} field
 * @param {object} options
 * @param {{ typed: string, base: string } | undefined} options.draft a value that `draft()` returned
 * @param {() => void} options.onChange called after the draft changed
 */
export function sharedField(field, { draft, onChange }) {
  const { name, input, textOf, isSame, question } = field;
  const choices = h("div", { class: "field-conflict", role: "status" });
  let ticket = /** @type {any} */ (null); // null until the first call of `follow`
  /** The value when the user began to type; null while nothing is typed. */
  let base = /** @type {string | null} */ (null);
  let asked = "";
  if (typeof draft?.typed === "string") {
    base = draft.base;
    input.value = draft.typed;
  }
  field.element.append(choices);

  function hasConflict() {
    return base !== null && base !== textOf(ticket);
  }

  /** Shows the current value in an untouched field, and the question if the value changed under the typed text. */
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
    if (needed === asked) return; // an unchanged question keeps its buttons and their focus
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
    name,
    follow,
    hasConflict,
    /** Returns the typed text and the value that it replaces, or undefined. */
    draft: () => (base === null ? undefined : { typed: input.value, base }),
    /** Records that `sent` was saved. Text that was typed since is a draft over the saved value. */
    settle: (sent, saved) => {
      base = input.value === sent ? null : textOf(saved);
    },
    focus: () => input.focus(),
  };
}

// The two fields of a ticket: its title, with a counter near the limit, and its price in the reader's number format.

import { h, setAttribute, setText, USER_TEXT } from "../core/dom.js";
import { Problem } from "../net/api.js";
import { amount } from "../words/format.js";
import { parsePrice } from "../words/price.js";
import { texts } from "../words/texts.js";
import { TITLE_LENGTH_MAX, titleLength } from "../words/title.js";
import { announce } from "./announcer.js";
import { field } from "./form.js";

/** The counter is shown when this many characters or fewer are left. */
const COUNTED_FROM = 20;

/** Returns a field for a title of any length. An excess is counted and announced; the text is never cut. */
export function titleField(attributes = {}) {
  const made = field("title", texts.form.title, {
    autocomplete: "off",
    ...USER_TEXT,
    ...attributes,
  });
  const { element, input } = made;
  const counter = h("p", { class: "field-hint", id: `${input.id}-counter` });
  element.append(counter);
  input.setAttribute("aria-describedby", `${input.getAttribute("aria-describedby")} ${counter.id}`);
  let over = false;

  function count() {
    const left = TITLE_LENGTH_MAX - titleLength(input.value);
    const text = left > COUNTED_FROM ? "" : texts.form.titleLeft(left);
    if (text && text !== counter.textContent) announce(text);
    setText(counter, text);
    setAttribute(counter, "class", left < 0 ? "field-error" : "field-hint");
    if (over !== left < 0) setAttribute(input, "aria-invalid", left < 0 ? "true" : false);
    over = left < 0;
  }

  input.addEventListener("input", count);
  return made;
}

/**
 * Returns a field for a price. `read` returns the amount in the form of the API.
 * @param {string} [known] the currency, if it is known already
 */
export function priceField(known, attributes = {}, hint = "") {
  let currency = known ?? "usd";
  const made = field(
    "price",
    known ? texts.form.priceIn(known) : texts.form.price,
    { inputmode: "decimal", autocomplete: "off", ...attributes },
    hint,
  );

  /** @throws {Problem} if the text is not an amount, or has two meanings */
  function read() {
    const price = parsePrice(made.input.value, { currency });
    if ("value" in price) return price.value;
    const message =
      price.problem === "ambiguous"
        ? texts.form.priceAmbiguous(
            made.input.value.trim(),
            amount(price.meanings[0] / 100),
            amount(price.meanings[1] / 100),
          )
        : texts.form.priceInvalid(amount(0.5), amount(999_999.99), amount(19.99));
    throw new Problem({
      status: 400,
      code: "validation_failed",
      errors: [{ field: "price", message, forUsers: true }],
    });
  }

  function setCurrency(next) {
    currency = next;
    made.setLabel(texts.form.priceIn(next));
  }

  return { ...made, read, setCurrency };
}

// The form fields of a ticket: its title, with a counter near the limit, and its price in the reader's number format. A new field
// is a function like `titleField` and an entry in `ticketFields`.

import { h, setAttribute, setText, USER_TEXT } from "../core/dom.js";
import { Problem } from "../net/api.js";
import { amount, priceToType } from "../words/format.js";
import { parsePrice } from "../words/price.js";
import { texts } from "../words/texts.js";
import { TITLE_LENGTH_MAX, titleLength } from "../words/title.js";
import { announce } from "./announcer.js";
import { field } from "./form.js";

/** The counter is shown when this many characters or fewer are left. */
const COUNTED_FROM = 20;

/**
 * @typedef {import("../state/store.js").Ticket} Ticket
 *
 * @typedef {object} TicketBinding
 * @property {() => unknown} read returns the value for a request, and throws a `Problem` if the text has none
 * @property {(ticket: Ticket) => string} textOf returns the value of a ticket as the user would type it
 * @property {(typed: string, ticket: Ticket) => boolean} isSame whether the typed text means the value of the ticket
 * @property {(present: string) => string} question returns the text that says that the value was changed elsewhere
 * @property {(currency: string) => void} [setCurrency] for a field that was built before the currency was known
 *
 * @typedef {import("./form.js").Field & TicketBinding} TicketField its `name` is the name in the API
 */

/**
 * Returns the form fields of a ticket, in their order.
 * @param {Ticket} [ticket] the ticket to change; without it, the fields are for a new one
 * @returns {TicketField[]}
 */
export function ticketFields(ticket) {
  return [titleField(ticket), priceField(ticket)];
}

/**
 * Returns the body of a request from the typed texts.
 * @param {TicketField[]} fields
 * @throws {Problem} if a text has no value
 */
export function requestBody(fields) {
  return Object.fromEntries(fields.map((one) => [one.name, one.read()]));
}

/** Returns a field whose text is the value in the API. */
function textField(name, label, question, attributes = {}, hint = "") {
  const made = field(name, label, { autocomplete: "off", ...USER_TEXT, ...attributes }, hint);
  const textOf = (ticket) => ticket[name] ?? "";
  return {
    ...made,
    read: () => made.input.value,
    textOf,
    isSame: (typed, ticket) => typed === textOf(ticket),
    question,
  };
}

/** Returns a field for a title of any length. An excess is counted and announced; the text is never cut. */
function titleField(ticket) {
  const made = textField("title", texts.form.title, texts.listing.titleChanged, {
    placeholder: ticket ? null : texts.newTicket.titleExample,
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

/** Returns a field for a price. The price of a new ticket has the currency of the server, which may be known later. */
function priceField(ticket) {
  let currency = ticket?.currency ?? "usd";
  const made = field(
    "price",
    ticket ? texts.form.priceIn(currency) : texts.form.price,
    { inputmode: "decimal", autocomplete: "off", placeholder: ticket ? null : amount(19.99) },
    ticket ? "" : texts.form.priceHint(amount(0.5), amount(999_999.99)),
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

  return {
    ...made,
    read,
    textOf: ({ price }) => priceToType(price),
    isSame: isPrice,
    question: texts.listing.priceChanged,
    setCurrency,
  };
}

/** Whether the typed text means the price of the ticket, in any notation. */
function isPrice(typed, { price, currency }) {
  const read = parsePrice(typed, { currency });
  return "value" in read && Number(read.value) === price;
}

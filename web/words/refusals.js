// Every refusal of the interface in the words of somebody who wants a ticket: what happened, and what can be done now.

const WORDS = {
  network: [
    "No answer from GitTix.",
    "Check your connection and try again: nothing is done twice.",
  ],
  unavailable: [
    "GitTix is very busy right now.",
    "Wait a moment, then try again: nothing is done twice.",
  ],
  outcome_unknown: [
    "We could not see yet whether that went through.",
    "Try again: nothing is done twice.",
  ],
  idempotency_in_flight: ["That is still being worked on.", "Wait a moment, then try again."],
  too_many_requests: ["That was a lot in a short time.", "Wait a little, then try again."],
  not_signed_in: ["You are signed out.", "Sign in again; what you typed is kept."],
  other_user: [
    "This browser is signed in with another account now.",
    "Nothing was done. Check who is signed in, then decide.",
  ],
  invalid_credentials: [
    "That email address and password do not belong together.",
    "Check both and try again.",
  ],
  email_in_use: [
    "There is an account with this email address already.",
    "Sign in instead, or use another address.",
  ],
  cross_origin: [
    "This page was opened from an address that GitTix does not know.",
    "Open GitTix by its own address.",
  ],
  not_owner: ["This belongs to somebody else.", "Perhaps you are signed in with another account?"],
  own_ticket: ["This is your own ticket.", "You can change it or take it off sale instead."],
  not_found: ["This is not there any more.", "Have a look at what else is for sale."],
  ticket_locked: [
    "Somebody else is buying this ticket right now.",
    "If they don't finish, it is free again; this page shows it at once.",
  ],
  ticket_sold: ["This ticket has just been sold.", "Have a look at what else is for sale."],
  price_changed: ["The price has changed meanwhile.", "Have a look at the new price, then decide."],
  ticket_changed: [
    "The seller has changed this ticket meanwhile.",
    "Have a look at it as it is now, then decide.",
  ],
  too_many_locks: [
    "You can't hold this ticket right now.",
    "You hold several tickets already, or let this one go too often: pay or cancel one, or wait a little.",
  ],
  too_many_listings: [
    "You have as many tickets on sale as you may.",
    "Take one off sale, or wait until one is sold.",
  ],
  order_expired: [
    "The time for this order is over, and nothing was charged.",
    "If the ticket is free again, you can buy it anew.",
  ],
  order_not_payable: [
    "This order was cancelled, and nothing was charged.",
    "If the ticket is still for sale, you can buy it anew.",
  ],
  order_completed: ["This order is paid already.", "The ticket is yours."],
  payment_in_flight: ["A payment for this order is on its way.", "Wait a moment for its answer."],
  version_mismatch: [
    "This was changed meanwhile.",
    "Have a look at how it is now, then save again.",
  ],
  card_declined: [
    "The card was declined, and nothing was charged.",
    "Try another card: the ticket is still held for you.",
  ],
  body_too_large: ["That is too long.", "Shorten it and try again."],
  validation_failed: ["Something is not right yet.", "Have a look at what is marked."],
};

const UNEXPECTED = ["That did not work.", "Try again in a moment."];

const TITLE_LENGTH = "Enter a title of 1 to 200 characters.";

/** What a page says better itself, by field, or by field and message of the interface. */
const FIELD_WORDS = {
  price: "Enter an amount from 0.50 to 999,999.99, such as 20 or 19.99.",
  "title must not be empty": TITLE_LENGTH,
  "title must have at most 200 characters": TITLE_LENGTH,
  "password must have 8 to 128 characters": "Choose a password of 8 to 128 characters.",
};

/** The subjects of the interface's other messages: "must not be empty" is a sentence without one. */
const FIELD_SUBJECTS = { title: "The title", password: "This password" };

/** `{ what, advice, fields }`: two sentences, and for each field that was refused what is wrong with it. */
export function inWords(problem) {
  const [what, advice] = WORDS[problem.code] ?? UNEXPECTED;
  return { what, advice: waiting(problem) ?? advice, fields: fieldsOf(problem) };
}

/** In the page's own words, with what the card's bank said. */
export function declineInWords(charge) {
  const said = charge?.failure?.message;
  return {
    what: said ? `The card was declined: ${said}` : WORDS.card_declined[0],
    advice: WORDS.card_declined[1],
    fields: {},
  };
}

/** `problem` limits payments; `secondsHeld` is how long the ticket is held yet. */
export function paymentLimitInWords(problem, secondsHeld) {
  const what = "Too many payments were tried or declined in a short time.";
  const over = problem.retryAfterSeconds >= secondsHeld;
  const advice = over
    ? "Nothing was charged. This order cannot be paid any more: you can buy the ticket again when it is free."
    : `Nothing was charged. ${waiting(problem) ?? WORDS.too_many_requests[1]}`;
  return { what, advice, fields: {} };
}

function waiting({ retryAfterSeconds, code }) {
  if (!retryAfterSeconds || retryAfterSeconds < 5) return null;
  const span = spanOf(retryAfterSeconds);
  return code === "too_many_locks"
    ? `You hold several tickets already, or let this one go too often: pay or cancel one, or try again in ${span}.`
    : `Try again in ${span}.`;
}

function spanOf(seconds) {
  if (seconds < 90) return `${seconds} seconds`;
  return seconds < 90 * 60
    ? `${Math.ceil(seconds / 60)} minutes`
    : `${Math.ceil(seconds / 3600)} hours`;
}

function fieldsOf({ code, errors }) {
  if (code !== "validation_failed") return {};
  return Object.fromEntries(
    errors
      .filter(({ field }) => field)
      .map(({ field, message }) => [field, fieldWords(field, message)]),
  );
}

function fieldWords(field, message) {
  const own = FIELD_WORDS[field] ?? FIELD_WORDS[`${field} ${message}`];
  if (own) return own;
  return field in FIELD_SUBJECTS ? `${FIELD_SUBJECTS[field]} ${message}.` : message;
}

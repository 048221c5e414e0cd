// Texts for refusals of the server: what happened, and what the user can do now.

import { amount } from "./format.js";
import { texts } from "./texts.js";

/** Texts by code: what happened, and what the reader can do now. */
const WORDS = {
  network: [
    "GitTix did not answer.",
    "Check your internet connection and try again. It is safe to repeat this.",
  ],
  unavailable: [
    "GitTix cannot do this right now.",
    "Wait a moment and try again. It is safe to repeat this.",
  ],
  outcome_unknown: [
    "We do not know yet whether this succeeded.",
    "Try again. It is safe to repeat this.",
  ],
  idempotency_in_flight: ["Your request is still being processed.", "Wait a moment and try again."],
  too_many_requests: [
    "You have sent too many requests in a short time.",
    "Wait a moment and try again.",
  ],
  invalid_token: ["This link is no longer valid.", "Request a new mail."],
  not_signed_in: ["You are signed out.", "Sign in again. What you typed is saved."],
  other_user: [
    "Another account is now signed in in this browser.",
    "Your last action was not carried out. Check which account is signed in, then try again.",
  ],
  invalid_credentials: ["The email address or the password is wrong.", "Check both and try again."],
  email_in_use: [
    "An account with this email address already exists.",
    "Sign in, or use another email address.",
  ],
  cross_origin: [
    "This page was opened at an address that GitTix does not recognize.",
    "Open GitTix at its usual address and try again.",
  ],
  not_owner: ["This belongs to another account.", "If you have another account, sign in with it."],
  own_ticket: ["This is your own ticket.", "You can change it or take it off sale."],
  not_found: ["This is no longer available.", "You can look for other tickets for sale."],
  ticket_locked: [
    "Another buyer is paying for this ticket right now.",
    "If they do not pay, it will be available again.",
  ],
  ticket_sold: ["This ticket has just been sold.", "You can look for other tickets for sale."],
  price_changed: ["The price of this ticket has changed.", "Check the new price before you buy."],
  ticket_changed: ["The seller has changed this ticket.", "Check the details before you buy."],
  too_many_locks: [
    "You cannot reserve this ticket right now.",
    "You have already reserved several tickets, or released this one too often. Pay for an order or cancel it, or try again later.",
  ],
  too_many_listings: [
    "You have reached the maximum number of tickets for sale.",
    "Take a ticket off sale, or wait until one is sold.",
  ],
  order_expired: [
    "The time to pay for this order has ended. You were not charged.",
    "If the ticket is available again, you can place a new order.",
  ],
  order_not_payable: [
    "This order was cancelled. You were not charged.",
    "If the ticket is still for sale, you can place a new order.",
  ],
  order_completed: ["This order is already paid.", "The ticket is yours."],
  payment_in_flight: ["Your payment is being processed.", "Wait a moment for the result."],
  version_mismatch: [
    "This ticket has changed since you opened it.",
    "Check the current details, then save again.",
  ],
  card_declined: [
    "The card was declined.",
    "You were not charged. Try another card. The ticket is still reserved for you.",
  ],
  body_too_large: ["Your text is too long.", "Shorten it and try again."],
  validation_failed: [
    "Some details are missing or not valid.",
    "Check the marked fields and try again.",
  ],
};

const UNEXPECTED = ["Something went wrong.", "Try again in a moment."];

const TITLE_LENGTH = "Enter a title of 1 to 200 characters.";

/** Texts that replace the server's messages, by field, or by field and message. */
const FIELD_WORDS = {
  price: texts.form.priceInvalid(amount(0.5), amount(999_999.99), amount(19.99)),
  "title must not be empty": TITLE_LENGTH,
  "title must have at most 200 characters": TITLE_LENGTH,
  "password must have 8 to 128 characters": "Choose a password of 8 to 128 characters.",
  "email must be an email address, such as ann@example.com":
    "Enter an email address, such as ann@example.com.",
};

/** Subjects for the server's other messages, since "must not be empty" has none. The subject of any other field is "The <field>". */
const FIELD_SUBJECTS = {
  email: "The email address",
  password: "This password",
  currentPassword: "The current password",
};

/** Returns `{ what, advice, fields }`: two sentences, and the error of each refused field. */
export function refusalText(problem) {
  const [what, advice] = WORDS[problem.code] ?? UNEXPECTED;
  return { what, advice: waiting(problem) ?? advice, fields: fieldsOf(problem) };
}

/** Returns the text for a declined charge. The bank's message is a sentence by itself ("The card has insufficient funds."). */
export function declineText(charge) {
  const [what, advice] = WORDS.card_declined;
  return { what: charge?.failure?.message ?? what, advice, fields: {} };
}

/** Returns the text for a limit on payments. `secondsHeld` is the remaining time of the reservation. */
export function paymentLimitText(problem, secondsHeld) {
  const what = "You have tried to pay too often in a short time.";
  const over = problem.retryAfterSeconds >= secondsHeld;
  const advice = over
    ? "You were not charged. This order can no longer be paid. You can order the ticket again when it is available."
    : `You were not charged. ${waiting(problem) ?? WORDS.too_many_requests[1]}`;
  return { what, advice, fields: {} };
}

function waiting({ retryAfterSeconds, code }) {
  if (!retryAfterSeconds || retryAfterSeconds < 5) return null;
  const span = spanOf(retryAfterSeconds);
  return code === "too_many_locks"
    ? `You have already reserved several tickets, or released this one too often. Pay for an order or cancel it, or try again in ${span}.`
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
      .map(({ field, message, forUsers }) => [
        field,
        forUsers ? message : fieldWords(field, message),
      ]),
  );
}

function fieldWords(field, message) {
  const own = FIELD_WORDS[field] ?? FIELD_WORDS[`${field} ${message}`];
  return own ?? `${FIELD_SUBJECTS[field] ?? `The ${field}`} ${message}.`;
}

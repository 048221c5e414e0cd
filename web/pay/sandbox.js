// Payment in the sandbox: a list of Stripe's published test cards. Users do not type a card number. Source of the tokens and their
// results: Stripe's testing documentation.

import { h } from "../core/dom.js";
import { texts } from "../words/texts.js";

const CARDS = [
  ["pm_card_visa", "Visa", "4242", texts.payment.accepted],
  ["pm_card_mastercard", "Mastercard", "4444", texts.payment.accepted],
  ["pm_card_authenticationRequired", "Visa", "3184", texts.payment.asks],
  ["pm_card_chargeDeclined", "Visa", "0002", texts.payment.declined],
  ["pm_card_chargeDeclinedInsufficientFunds", "Visa", "9995", texts.payment.declinedFunds],
];

/**
 * @typedef {object} PaymentMethod
 * @property {() => Promise<string>} token resolves to the id of a payment method
 * @property {(clientSecret?: string) => Promise<void>} act lets the buyer confirm the payment at the bank
 */

/** Shows the cards in `host`. `token()` resolves to the chosen card. `act()` does nothing: the sandbox takes the confirm request as the buyer's action. */
export function sandboxCards(host) {
  const set = h(
    "fieldset",
    { class: "cards" },
    h("legend", {}, texts.payment.chooseCard),
    CARDS.map(([token, brand, digits, what], index) =>
      h(
        "label",
        { class: "card" },
        h("input", { type: "radio", name: "card", value: token, checked: index === 0 }),
        h(
          "span",
          { class: "card-face" },
          h("span", { class: "card-name" }, texts.payment.card(brand, digits)),
          h("span", { class: "quiet" }, what),
        ),
      ),
    ),
  );
  host.replaceChildren(set, h("p", { class: "quiet" }, texts.payment.sandbox));
  return {
    token: async () => /** @type {HTMLInputElement} */ (set.querySelector("input:checked")).value,
    act: async () => {},
  };
}

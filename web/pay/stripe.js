// Payment with Stripe's element. Its script is loaded from Stripe, as Stripe requires, and only if a publishable key is set.
// Card numbers stay in Stripe's frame and never reach this page or our server.

import { h } from "../core/dom.js";
import { Problem } from "../net/api.js";

const SCRIPT = "https://js.stripe.com/v3/";

/** @type {Promise<any> | null} */
let loading = null;

function loadStripe(key) {
  loading ??= new Promise((resolve, reject) => {
    const script = h("script", { src: SCRIPT, async: true });
    script.addEventListener("load", () => resolve(/** @type {any} */ (globalThis).Stripe(key)));
    script.addEventListener("error", () => {
      loading = null;
      reject(new Problem({}));
    });
    document.head.append(script);
  });
  return loading;
}

/**
 * Shows Stripe's card element in `host`. `token()` resolves to the id of a payment method. `act(clientSecret)` lets the buyer
 * confirm the payment at the bank.
 * @throws {Problem} when Stripe's script cannot be loaded
 */
export async function stripeCards(host, { key, price, currency }) {
  const stripe = await loadStripe(key);
  const elements = stripe.elements({
    mode: "payment",
    amount: Math.round(price * 100),
    currency,
    captureMethod: "manual",
    paymentMethodCreation: "manual",
    paymentMethodTypes: ["card"],
    appearance: { theme: matchMedia("(prefers-color-scheme: dark)").matches ? "night" : "stripe" },
  });
  const place = h("div", { class: "stripe" });
  host.replaceChildren(place);
  elements.create("payment").mount(place);
  return {
    token: async () => {
      succeeded(await elements.submit());
      return succeeded(await stripe.createPaymentMethod({ elements })).paymentMethod.id;
    },
    act: async (clientSecret) => {
      if (clientSecret) succeeded(await stripe.handleNextAction({ clientSecret }));
    },
  };
}

function succeeded(result) {
  if (!result.error) return result;
  throw new Problem({
    status: 402,
    code: "card_refused",
    errors: [{ message: result.error.message }],
  });
}

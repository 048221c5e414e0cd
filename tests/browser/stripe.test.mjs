// Stripe's element, with a publishable key. A fake replaces Stripe's script, which a test must not load. The tests show that the
// page calls it as Stripe documents and sends only the id of the payment method to the server.

import assert from "node:assert/strict";
import { test } from "node:test";
import { says, testEnvironment } from "./support/environment.mjs";

const env = testEnvironment({ STRIPE_PUBLISHABLE_KEY: "pk_test_pages" });

/** Records the calls. Responds as Stripe's documentation says. */
const STAND_IN = `
  globalThis.asked = [];
  globalThis.Stripe = (key) => {
    asked.push(["Stripe", key]);
    return {
      elements: (options) => {
        asked.push(["elements", options.mode, options.amount, options.currency, options.captureMethod, options.paymentMethodCreation]);
        return {
          create: (kind) => ({ mount: (place) => { asked.push(["mount", kind]); place.textContent = "Stripe's element"; } }),
          submit: async () => ({}),
        };
      },
      createPaymentMethod: async () => globalThis.nextMethod,
      handleNextAction: async ({ clientSecret }) => { asked.push(["act", typeof clientSecret]); return {}; },
    };
  };`;

async function openOrder(t, title) {
  const seller = await env.account("seller");
  const ticket = await seller.list(title, 19.99);
  const page = await env.openPage(t, { signedIn: true });
  await page.route("https://js.stripe.com/**", (route) =>
    route.fulfill({ contentType: "text/javascript", body: STAND_IN }),
  );
  await page.goto(`/tickets/${ticket.id}`);
  await page.getByRole("button", { name: "Buy" }).click();
  await says(page.locator(".stripe"), "Stripe's element", 5_000);
  return page;
}

async function payWith(page, method) {
  await page.evaluate((next) => (globalThis.nextMethod = next), method);
  await page.getByRole("button", { name: "Pay $19.99" }).click();
}

test("Stripe's element receives the amount in minor units, and its payment method pays", async (t) => {
  const page = await openOrder(t, "Stripe Show");
  await payWith(page, { paymentMethod: { id: "pm_card_visa" } });
  await says(page.locator(".outcome"), "It's yours", 5_000);
  const asked = await page.evaluate(() => globalThis.asked);
  assert.deepEqual(asked, [
    ["Stripe", "pk_test_pages"],
    ["elements", "payment", 1999, "usd", "manual", "manual"],
    ["mount", "payment"],
  ]);
});

test("Stripe's message about a card is shown, and the buyer can try again", async (t) => {
  const page = await openOrder(t, "Stripe Refusal");
  await payWith(page, { error: { message: "Your card number is incomplete." } });
  await says(page.locator(".notice-bad"), "Your card number is incomplete.", 5_000);
  await payWith(page, { paymentMethod: { id: "pm_card_visa" } });
  await says(page.locator(".outcome"), "It's yours", 5_000);
});

test("payment continues after the buyer's confirmation at the bank", async (t) => {
  const page = await openOrder(t, "Stripe Bank");
  await payWith(page, { paymentMethod: { id: "pm_card_authenticationRequired" } });
  await says(page.locator(".outcome"), "It's yours", 5_000);
  const asked = await page.evaluate(() => globalThis.asked);
  assert.deepEqual(asked.at(-1), ["act", "string"]);
});

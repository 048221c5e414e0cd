// The few settings of the server that a page shows or needs: currency, the lock's two lengths, and how payment is taken.

import { request } from "../net/api.js";

/**
 * @typedef {object} Settings
 * @property {string} currency
 * @property {number} paymentWindowSeconds
 * @property {number} lockDurationSeconds
 * @property {boolean} earlyRelease
 * @property {string | null} stripePublishableKey
 */

/** @type {Promise<Settings> | null} */
let asked = null;

/**
 * `{ currency, paymentWindowSeconds, lockDurationSeconds, earlyRelease, stripePublishableKey }`; asked for once.
 * @throws {Problem}
 */
export function settings() {
  asked ??= request("GET", "/api/settings")
    .then(({ data }) => data)
    .catch((error) => {
      asked = null; // the next page that needs them asks again
      throw error;
    });
  return asked;
}

// The server's settings that pages show or need: currency, durations of the lock and the payment window, and payment processor.

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
let pending = null;

/**
 * Returns the settings. They are requested once.
 * @throws {Problem}
 */
export function settings() {
  pending ??= request("GET", "/api/settings")
    .then(({ data }) => data)
    .catch((error) => {
      pending = null; // the next call sends a new request
      throw error;
    });
  return pending;
}

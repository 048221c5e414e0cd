// Requests that take effect once, after a double click, a retry after a lost response, or a reload. The Idempotency-Key of an
// operation is kept until the outcome is known. Identical calls at the same time share one request.

import { digest } from "../core/digest.js";
import { forget, keep, kept } from "../core/kept.js";
import { store } from "../state/store.js";
import { Problem, request } from "./api.js";

const ATTEMPTS_MAX = 4;
const PAUSE_FIRST_MS = 600;
const PAUSE_MAX_MS = 4_000;
const PREFIX = "intent:";
/** Codes that the server may send before it looks up the key. An earlier attempt may have succeeded nevertheless. */
const SENT_BEFORE_KEY_LOOKUP = ["not_signed_in", "other_user", "too_many_requests"];

const inFlight = new Map();

/**
 * Sends an unsafe request under the key of its operation (user, method, path, version and body). Retries while the outcome is
 * unknown. All attempts name the user who was signed in at the first attempt.
 * @param {string} method
 * @param {string} path
 * @param {unknown} [body] sent as JSON
 * @param {object} [how]
 * @param {number} [how.ifMatch] the version that must be the current one
 * @param {boolean} [how.secret] true if the body holds a secret: its key is kept in memory only, and a reload loses it
 * @param {(attempt: number) => void} [how.onRetry] called before each further attempt
 * @returns {Promise<{ status: number, data: any, next: string | null }>}
 * @throws {Problem} the definite refusal; or the last failure if the outcome stays unknown, and then the key is kept
 */
export function once(method, path, body, { ifMatch, secret = false, onRetry } = {}) {
  const user = store.user?.id;
  const operation = JSON.stringify([user ?? null, method, path, ifMatch ?? null, body ?? null]);
  const running = inFlight.get(operation);
  if (running) return running;
  const key = new OperationKey(operation, secret);
  const sending = sendWithRetries(key, onRetry, () =>
    request(method, path, { body, key: key.value, ifMatch, user }),
  ).finally(() => inFlight.delete(operation));
  inFlight.set(operation, sending);
  return sending;
}

async function sendWithRetries(key, onRetry, send) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await send();
      key.forget();
      return answer;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.code === "idempotency_key_reused" && key.renew()) continue;
      if (!error.isOutcomeUnknown) {
        if (!SENT_BEFORE_KEY_LOOKUP.includes(error.code)) key.forget();
        throw error;
      }
      if (attempt === ATTEMPTS_MAX) throw error;
      await pause(attempt, error.retryAfterSeconds);
      onRetry?.(attempt + 1);
    }
  }
}

/** The Idempotency-Key of one operation, kept under a digest of the operation. */
class OperationKey {
  #name;
  #secret;
  #renewed = false;

  constructor(operation, secret) {
    this.#name = PREFIX + digest(operation);
    this.#secret = secret;
    this.value = kept(this.#name) ?? this.#create();
  }

  /**
   * Creates another key, once. Returns whether it did. The server has seen the current key with another body, so two operations
   * have the same digest, and this operation was not executed.
   */
  renew() {
    if (this.#renewed) return false;
    this.#renewed = true;
    this.value = this.#create();
    return true;
  }

  forget() {
    forget(this.#name);
  }

  #create() {
    const value = newKey();
    keep(this.#name, value, { secret: this.#secret });
    return value;
  }
}

function pause(attempt, retryAfterSeconds) {
  const backoff = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (attempt - 1));
  const requested = Math.min(PAUSE_MAX_MS, (retryAfterSeconds ?? 0) * 1000);
  return new Promise((resolve) =>
    setTimeout(resolve, Math.max(requested, backoff * (0.5 + Math.random() / 2))),
  );
}

/** Returns 128 random bits as hex. `crypto.randomUUID` is missing on plain-http origins other than localhost. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

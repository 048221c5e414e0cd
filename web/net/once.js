// Doing a thing once, however often it is asked for: a double click, a retry after a lost answer, a reload half-way. The
// Idempotency-Key of an intention is kept until the server's answer settles it, and two calls at once share one request.

import { Problem, request } from "./api.js";

const ATTEMPTS_MAX = 4;
const PAUSE_FIRST_MS = 600;
const PAUSE_MAX_MS = 4_000;
const PREFIX = "intent:";

const inFlight = new Map();

/**
 * Sends an unsafe request under the key of its intention (method, path and body), asking again while the outcome is unknown.
 * @param {(attempt: number) => void} [onRetry] told before each further attempt
 * @throws {Problem} the definite refusal, or the last failure when the outcome stays unknown; the key is kept then
 */
export function once(method, path, body, { ifMatch, onRetry } = {}) {
  const intent = `${method} ${path} ${ifMatch ?? ""} ${JSON.stringify(body ?? null)}`;
  const running = inFlight.get(intent);
  if (running) return running;
  const sending = settle(intent, { method, path, body, ifMatch, onRetry }).finally(() => inFlight.delete(intent));
  inFlight.set(intent, sending);
  return sending;
}

async function settle(intent, { method, path, body, ifMatch, onRetry }) {
  const key = keyOf(intent);
  for (let attempt = 1; ; attempt += 1) {
    try {
      const answer = await request(method, path, { body, key, ifMatch });
      forget(intent);
      return answer;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (!error.unsettled) {
        forget(intent);
        throw error;
      }
      if (attempt === ATTEMPTS_MAX) throw error;
      await pause(attempt, error.retryAfterSeconds);
      onRetry?.(attempt + 1);
    }
  }
}

function pause(attempt, retryAfterSeconds) {
  const growing = Math.min(PAUSE_MAX_MS, PAUSE_FIRST_MS * 2 ** (attempt - 1));
  const asked = Math.min(PAUSE_MAX_MS, (retryAfterSeconds ?? 0) * 1000);
  return new Promise((resolve) => setTimeout(resolve, Math.max(asked, growing * (0.5 + Math.random() / 2))));
}

function keyOf(intent) {
  try {
    const kept = sessionStorage.getItem(PREFIX + intent);
    if (kept) return kept;
    const key = newKey();
    sessionStorage.setItem(PREFIX + intent, key);
    return key;
  } catch {
    return newKey();
  }
}

function forget(intent) {
  sessionStorage.removeItem(PREFIX + intent);
}

/** 128 random bits as hex. `crypto.randomUUID` is missing on plain-http origins other than localhost. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Requests to the REST API. Every refusal is a `Problem`. Pages never call `fetch` themselves.

import { observe } from "../core/clock.js";
import { takeServedResponse } from "../core/served.js";
import { store } from "../state/store.js";

/** Maximum time until a response. On a bad network, a request that hangs is worse than one that fails. */
const TIMEOUT_MS = 15_000;
/** Paths of requests that sign in another user. */
const SIGN_IN_PATHS = ["/api/users/signin", "/api/users/signup", "/api/users/reset/confirm"];

/** A refusal by the server, or a request without a response (`code` is `network`). */
export class Problem extends Error {
  /**
   * @param {object} problem
   * @param {number} [problem.status] 0 without a response
   * @param {string} [problem.code]
   * `forUsers` marks a message of these pages, which is shown unchanged.
   * @param {Array<{ message: string, field?: string, forUsers?: boolean }>} [problem.errors]
   * @param {number | null} [problem.retryAfterSeconds]
   */
  constructor({ status = 0, code = "network", errors = [], retryAfterSeconds = null }) {
    super(errors[0]?.message ?? code);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.errors = errors;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  /** Whether the server may have executed the request. Only the same Idempotency-Key makes a retry safe then. */
  get isOutcomeUnknown() {
    return this.status === 0 || this.status >= 500 || this.code === "idempotency_in_flight";
  }
}

const refused = new EventTarget();

/** Calls `listener` with every refusal, in addition to the code that handles it. */
export function onRefusal(listener) {
  refused.addEventListener("refusal", (event) =>
    listener(/** @type {CustomEvent} */ (event).detail),
  );
}

/**
 * Sends one request. Resolves to the status, the parsed body (`data`), and the path of the next page (`next`), if any.
 *
 * An unsafe request names the user for whom it is meant (`GitTix-User`), by default the signed-in user of this page. The server
 * refuses it with `other_user` if another window of this browser has signed in another user.
 * @param {string} method
 * @param {string} path
 * @param {object} [options]
 * @param {unknown} [options.body] sent as JSON
 * @param {string} [options.key] the Idempotency-Key
 * @param {number} [options.ifMatch] the version that must be the current one
 * @param {number} [options.ifNoneMatch] a known version; if it is current, `data` is null and `status` is 304
 * @param {AbortSignal} [options.signal]
 * @param {string} [options.user] id of the user for whom an unsafe request is meant
 * @returns {Promise<{ status: number, data: any, next: string | null }>}
 * @throws {Problem} for every refusal, and for a missing response
 * @throws {DOMException} AbortError when the caller's signal aborted
 */
export async function request(
  method,
  path,
  { body, key, ifMatch, ifNoneMatch, signal, user = store.user?.id } = {},
) {
  const served = method === "GET" ? takeServedResponse(path) : null;
  if (served) return served;
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (user && method !== "GET" && !SIGN_IN_PATHS.includes(path)) headers["GitTix-User"] = user;
  if (ifMatch !== undefined) headers["If-Match"] = `"${ifMatch}"`;
  if (ifNoneMatch !== undefined) headers["If-None-Match"] = `"${ifNoneMatch}"`;
  const limit = timeLimit(signal);
  let response;
  let text;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: limit.signal,
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({});
  } finally {
    limit.end();
  }
  observe(Date.parse(response.headers.get("Date") ?? ""), { rough: true });
  const data = parsed(text);
  if (!response.ok && response.status !== 304) {
    const problem = problemOf(response, data);
    refused.dispatchEvent(new CustomEvent("refusal", { detail: problem }));
    throw problem;
  }
  return { status: response.status, data, next: nextPage(response.headers.get("Link")) };
}

/** Returns a signal that aborts with the caller's signal or after `TIMEOUT_MS`. */
function timeLimit(signal) {
  const controller = new AbortController();
  const abort = () => controller.abort();
  const timer = setTimeout(abort, TIMEOUT_MS);
  if (signal?.aborted) abort();
  signal?.addEventListener("abort", abort);
  return {
    signal: controller.signal,
    end: () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    },
  };
}

/** Returns whether an error only means that the requesting page was left. */
export function isAborted(error) {
  return error?.name === "AbortError";
}

function problemOf(response, data) {
  return new Problem({
    status: response.status,
    code: typeof data?.code === "string" ? data.code : "unexpected",
    errors: Array.isArray(data?.errors) ? data.errors : [],
    retryAfterSeconds: Number.parseInt(response.headers.get("Retry-After") ?? "", 10) || null,
  });
}

function parsed(text) {
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Returns the path of `rel="next"` in a Link header (RFC 8288), or null. */
export function nextPage(link) {
  const match = /<([^>]+)>\s*;[^,]*rel="?next"?/.exec(link ?? "");
  if (!match) return null;
  const url = new URL(match[1], globalThis.location?.origin ?? "http://localhost");
  return url.pathname + url.search;
}

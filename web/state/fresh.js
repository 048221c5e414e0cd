// Keeping what a page shows fresh: loaded when it opens, and again whenever something may have been missed. While there is no
// live connection the page polls: it loads again every few seconds while it is visible.

import { isAborted } from "../net/api.js";
import { store } from "./store.js";

/** The first poll after the connection was lost: most breaks are shorter, and resuming costs less. */
const POLL_FIRST_MS = 1_000;
const POLL_MS = 5_000;
const POLL_MAX_MS = 60_000;
/** Each wait is longer or shorter by up to this part, so that pages that lost the connection together do not poll together. */
const JITTER = 0.3;

let open = 0; // how many pages are kept fresh: one, or none

/**
 * Runs `load` now, at every new epoch of the live connection, and every few seconds while there is no connection; never twice
 * at once. Returns a function that loads at any other time: its promise resolves after a load that began after the call.
 * @param {(signal: AbortSignal) => Promise<void>} load
 * @param {(problem, retry: () => void) => void} failed called with each failure; what was shown before is still there
 */
export function keepFresh(load, failed, signal) {
  let running = /** @type {Promise<void> | null} */ (null);
  let queued = /** @type {Promise<void> | null} */ (null);
  let timer = /** @type {number | undefined} */ (undefined);
  let failures = 0;

  function run() {
    if (running) {
      queued ??= running.then(() => {
        queued = null;
        return signal.aborted ? undefined : run();
      });
      return queued;
    }
    running = attempt().finally(() => {
      running = null;
    });
    return running;
  }

  async function attempt() {
    let problem = /** @type {any} */ (null);
    try {
      await load(signal);
    } catch (error) {
      if (isAborted(error) || signal.aborted) return;
      problem = error;
    }
    if (signal.aborted) return;
    failures = problem ? failures + 1 : 0;
    if (store.connection === "lost") {
      store.setPolling(!problem || problem.unsettled === false);
      schedule(pollMs(failures, problem?.retryAfterSeconds));
    }
    if (problem) failed(problem, run);
  }

  function schedule(waitMs) {
    clearTimeout(timer);
    timer = isVisible() ? setTimeout(run, waitMs) : undefined;
  }

  function connectionChanged(status) {
    clearTimeout(timer);
    if (status === "lost") {
      store.setPolling(false);
      schedule(jittered(POLL_FIRST_MS));
    } else if (status === "live" && failures > 0) run();
  }

  function visibilityChanged() {
    if (!isVisible()) clearTimeout(timer);
    else if (store.connection === "lost") schedule(jittered(POLL_FIRST_MS / 2));
  }

  open += 1;
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    open -= 1;
    // The next page is mounted in the same task.
    queueMicrotask(() => open === 0 && store.setPolling(null));
  });
  document.addEventListener("visibilitychange", visibilityChanged, { signal });
  store.watch("epoch", run, signal);
  store.watch("connection", connectionChanged, signal);
  run();
  return run;
}

/** How long to wait before the next poll, in milliseconds; after failures longer. `random` is in [0, 1). */
export function pollMs(failures, retryAfterSeconds = null, random = Math.random()) {
  const wait = Math.min(POLL_MAX_MS, POLL_MS * 2 ** failures);
  return Math.max(jittered(wait, random), (retryAfterSeconds ?? 0) * 1000);
}

function jittered(waitMs, random = Math.random()) {
  return waitMs * (1 + JITTER * (2 * random - 1));
}

function isVisible() {
  return document.visibilityState === "visible";
}

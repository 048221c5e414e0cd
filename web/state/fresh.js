// Keeps the content of a page current: loads it when the page opens, and again whenever changes may have been missed. Without a
// live connection, a visible page polls every few seconds.

import { isAborted } from "../net/api.js";
import { store } from "./store.js";

/** Wait before the first poll after a lost connection. Most interruptions are shorter, and a resume costs less than a poll. */
const POLL_FIRST_MS = 1_000;
const POLL_MS = 5_000;
const POLL_MAX_MS = 60_000;
/** Part of each wait that is added or subtracted at random, so that pages do not poll at the same moment. */
const JITTER = 0.3;

let pagesKeptFresh = 0; // number of pages that are kept current: one or none

/**
 * Runs `load` now, at every new epoch of the live connection, and every few seconds while there is no connection; never twice
 * at the same time. Returns a function that loads on demand. Its promise resolves after a load that began after the call.
 * @param {(signal: AbortSignal) => Promise<void>} load
 * @param {(problem, retry: () => void) => void} failed called with each failure; the earlier content is still shown
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
      store.setPolling(!problem || problem.isOutcomeUnknown === false);
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

  pagesKeptFresh += 1;
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    pagesKeptFresh -= 1;
    // A navigation mounts the next page in the same task.
    queueMicrotask(() => pagesKeptFresh === 0 && store.setPolling(null));
  });
  document.addEventListener("visibilitychange", visibilityChanged, { signal });
  store.watch("epoch", run, signal);
  store.watch("connection", connectionChanged, signal);
  run();
  return run;
}

/** Returns the wait before the next poll, in milliseconds. It grows after failures. `random` is in [0, 1). */
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

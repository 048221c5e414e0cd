// Keeping what a page shows fresh: loaded when it opens, and again whenever something may have been missed.

import { isAborted } from "../net/api.js";
import { store } from "./store.js";

/**
 * Runs `load` now and at every new epoch of the live connection, never twice at once; after a failure also when the
 * connection comes back. Answers what loads at any other time.
 * @param {(signal: AbortSignal) => Promise<void>} load
 * @param {(problem, retry: () => void) => void} failed told of each failure; what was shown before is still there
 */
export function keepFresh(load, failed, signal) {
  let running = false;
  let again = false;
  let broken = false;

  async function run() {
    if (running) {
      again = true;
      return;
    }
    running = true;
    try {
      await load(signal);
      broken = false;
    } catch (error) {
      if (isAborted(error) || signal.aborted) return;
      broken = true;
      failed(error, run);
    } finally {
      running = false;
    }
    if (again && !signal.aborted) {
      again = false;
      run();
    }
  }

  store.watch("epoch", run, signal);
  store.watch("connection", (status) => status === "live" && broken && run(), signal);
  run();
  return run;
}

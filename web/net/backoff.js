// The wait before the next attempt to connect. It grows, is bounded and has jitter, so that the browsers do not all reconnect
// to a restarted server at the same moment.

const FLOOR_MS = 200;
const FIRST_MS = 600;
const CEILING_MS = 15_000;

/** Returns the wait before attempt number `failures` + 1, with full jitter above a minimum. `random` is in [0, 1). */
export function backoffMs(failures, random = Math.random()) {
  const span = Math.min(CEILING_MS, FIRST_MS * 2 ** Math.max(0, failures - 1));
  return Math.round(FLOOR_MS + random * (span - FLOOR_MS));
}

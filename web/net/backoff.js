// How long to wait before the next attempt to connect: growing, capped and jittered, so that a server that comes back is
// not met by all its browsers in the same instant.

const FLOOR_MS = 200;
const FIRST_MS = 600;
const CEILING_MS = 15_000;

/** The wait before attempt number `failures` + 1: full jitter above a floor. `random` is in [0, 1). */
export function backoffMs(failures, random = Math.random()) {
  const span = Math.min(CEILING_MS, FIRST_MS * 2 ** Math.max(0, failures - 1));
  return Math.round(FLOOR_MS + random * (span - FLOOR_MS));
}

// An estimate of the server's clock. Countdowns use it because the clock of a device may be wrong by minutes and may be set
// while the page is open. The time base is `performance.now()`, which does not change when the clock is set. On some systems
// it stops while the device sleeps; the next server time that arrives corrects the estimate.

/** Tolerated network delay of a frame. With a shorter delay, a countdown does not start one second too high. */
const DELAY_MS = 250;
/** Average amount that a Date header rounds off. */
const ROUNDED_OFF_MS = 500;

/** Server time minus `performance.now()`. Based on the device's clock until the first server time arrives. */
let offsetMs = Date.now() - performance.now();
let hasServerTime = false; // whether a server time has arrived
let hasExactTime = false; // whether a server time with milliseconds has arrived
const listeners = new Set();
/** @type {number | undefined} */
let timer;

/**
 * Records a server time that arrived now, in milliseconds since 1970.
 *
 * Because of the network delay, the time is never later than the server's clock at its arrival. Of several times, the one with
 * the largest offset is therefore the most accurate.
 * @param {object} [how]
 * @param {boolean} [how.rough] true for a Date header, which has whole seconds, rounded down
 * @param {boolean} [how.isFirst] true for the first frame of a new connection, which replaces earlier measurements
 */
export function observe(serverMs, { rough = false, isFirst = false } = {}) {
  if (!Number.isFinite(serverMs)) return;
  const offset = serverMs - performance.now();
  if (rough) offsetMs = hasServerTime ? Math.max(offsetMs, offset) : offset + ROUNDED_OFF_MS;
  else offsetMs = hasExactTime && !isFirst ? Math.max(offsetMs, offset) : offset;
  hasServerTime = true;
  hasExactTime ||= !rough;
}

/** Returns the estimated server time, in milliseconds since 1970. */
export function now() {
  return performance.now() + offsetMs;
}

/** Returns the whole seconds until a server time: less the tolerated network delay, rounded up, at least 0. */
export function secondsUntil(serverMs) {
  return Math.max(0, Math.ceil((serverMs - now() - DELAY_MS) / 1000));
}

/**
 * Calls `listener` once per second of the server's clock until the signal aborts. All listeners share one timer, which runs
 * only while there are listeners.
 */
export function onSecond(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener), { once: true });
  if (timer === undefined) schedule();
}

function schedule() {
  const untilNextSecondMs = 1000 - (((now() % 1000) + 1000) % 1000);
  timer = setTimeout(tick, untilNextSecondMs + 5);
}

function tick() {
  timer = undefined;
  for (const listener of [...listeners]) listener();
  if (listeners.size > 0) schedule();
}

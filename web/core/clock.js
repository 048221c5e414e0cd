// The server's clock, as far as this page can know it. Every countdown runs by it: a phone's own clock may be minutes off, and
// may be set while the page is open. Time is measured by `performance.now()`, which no setting of the clock moves. On some
// systems it stops while the device sleeps, and is behind then: the next time that the server says corrects it.

/** So much later than it was sent may a frame arrive without a countdown beginning a second too high. */
const DELAY_MS = 250;
/** What a Date header lacks on average. */
const ROUNDED_OFF_MS = 500;

/** The server's time minus `performance.now()`; by the device's own clock until the server has said a time. */
let offsetMs = Date.now() - performance.now();
let known = false; // whether the server has said a time
let measured = false; // whether it was one with milliseconds
const listeners = new Set();
/** @type {number | undefined} */
let timer;

/**
 * Takes over a time that the server said just now (milliseconds since 1970). It is never later than the server's clock is when
 * it arrives, so of several the one that puts that clock furthest ahead is the nearest to the truth.
 * @param {object} [how]
 * @param {boolean} [how.rough] a Date header: whole seconds, rounded down
 * @param {boolean} [how.isFirst] the first frame of a new connection: replaces what was measured before
 */
export function observe(serverMs, { rough = false, isFirst = false } = {}) {
  if (!Number.isFinite(serverMs)) return;
  const offset = serverMs - performance.now();
  if (rough) offsetMs = known ? Math.max(offsetMs, offset) : offset + ROUNDED_OFF_MS;
  else offsetMs = measured && !isFirst ? Math.max(offsetMs, offset) : offset;
  known = true;
  measured ||= !rough;
}

/** What time it is on the server, in milliseconds since 1970. */
export function now() {
  return performance.now() + offsetMs;
}

/** Whole seconds until a server time, rounded up but for what a network's delay adds, never below 0. */
export function secondsUntil(serverMs) {
  return Math.max(0, Math.ceil((serverMs - now() - DELAY_MS) / 1000));
}

/**
 * Calls back once per second of the server's clock until the signal aborts. One timer serves all that is counting, and
 * there is none while nothing counts.
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

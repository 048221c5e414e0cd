// The server's clock, as far as this page can know it. Every countdown runs by it: a phone's own clock may be minutes off.

/** So much later than it was sent may a frame arrive without a countdown beginning a second too high. */
const DELAY_MS = 250;

let offsetMs = 0;
let measured = false;
const listeners = new Set();
/** @type {number | undefined} */
let timer;

/**
 * A time that the server said just now (milliseconds since 1970). It was younger when it left than when it came, so of
 * several the one that puts the server's clock furthest ahead is the nearest to the truth.
 * @param {object} [how]
 * @param {boolean} [how.rough] a Date header, in whole seconds: good enough until something better comes
 * @param {boolean} [how.anew] the first word of a new connection: this device may have slept, or its clock been set
 */
export function observe(serverMs, { rough = false, anew = false } = {}) {
  if (!Number.isFinite(serverMs) || (rough && measured)) return;
  const offset = serverMs - Date.now();
  offsetMs = measured && !anew ? Math.max(offsetMs, offset) : offset;
  measured ||= !rough;
}

/** What time it is on the server, in milliseconds since 1970. */
export function now() {
  return Date.now() + offsetMs;
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

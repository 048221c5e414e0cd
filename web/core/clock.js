// The server's clock, as far as this page can know it. Every countdown runs by it: a phone's own clock may be minutes off.

let offsetMs = 0;
let measured = false;
const listeners = new Set();
let timer = null;

/** A time that the server said just now (milliseconds since 1970). Rough ones, such as a Date header, never undo a good one. */
export function observe(serverMs, { rough = false } = {}) {
  if (!Number.isFinite(serverMs) || (rough && measured)) return;
  offsetMs = serverMs - Date.now();
  measured ||= !rough;
}

/** What time it is on the server, in milliseconds since 1970. */
export function now() {
  return Date.now() + offsetMs;
}

/** Whole seconds until a server time, rounded up, never below 0: what is shown as 0:00 is over. */
export function secondsUntil(serverMs) {
  return Math.max(0, Math.ceil((serverMs - now()) / 1000));
}

/**
 * Calls back once per second of the server's clock until the signal aborts. One timer serves all that is counting, and
 * there is none while nothing counts.
 */
export function onSecond(listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener), { once: true });
  if (timer === null) schedule();
}

function schedule() {
  const untilNextSecondMs = 1000 - (((now() % 1000) + 1000) % 1000);
  timer = setTimeout(tick, untilNextSecondMs + 5);
}

function tick() {
  timer = null;
  for (const listener of [...listeners]) listener();
  if (listeners.size > 0) schedule();
}

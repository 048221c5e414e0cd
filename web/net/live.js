// The WebSocket of the page. It connects, resumes by cursor, detects silence, and reports when snapshots of the page may be
// outdated. The store processes the frames.
//
// `epoch` counts the moments after which changes may have been missed: the first Hello, a failed resume, a Reset, and a watch
// that became wider. A snapshot that was requested in an earlier epoch must be loaded again.

import { backoffMs } from "./backoff.js";

const CONNECT_TIMEOUT_MS = 10_000;
/** Time without a frame after which the socket is probed. Scripts do not see the server's pings. */
const SILENCE_MS = 25_000;
const PROBE_TIMEOUT_MS = 4_000;
const HEALTH_CHECK_MS = 5_000;
/** Duration of a connection that resets the back-off. */
const STABLE_MS = 8_000;
/** Minimum time between two sent frames. The server allows 20 frames in 10 s. */
const SEND_SPACING_MS = 600;
/** Change of the device's clock against `performance.now()` that means that the device slept or its clock was set. */
const CLOCK_JUMP_MS = 2_000;
const POLICY_VIOLATION = 1008;

export class Live {
  status = "connecting"; // "connecting" until the first Hello, then "live" or "lost"
  epoch = 0;
  #hooks;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {string | null} */
  #cursor = null;
  #failures = 0;
  /** @type {number | null} */
  #retryTimer = null;
  /** @type {number | null} */
  #probeTimer = null;
  /** @type {number | null} */
  #sendTimer = null;
  #heardAt = 0;
  #sentAt = 0;
  #openedAt = 0;
  #clockOffset = clockOffset();
  /** @type {string[] | null} */
  #wanted = null; // ids of the tickets to watch, or null for all
  /** @type {Set<string> | null} */
  #covered = null; // ids that the server confirmed, or null for all

  /**
   * @param {object} hooks
   * @param {(frame: object) => void} hooks.onFrame called with every frame except Hello, Watching, Reset and Error
   * @param {(serverMs: number, how: { isFirst: boolean }) => void} hooks.onServerTime
   * @param {(status: string) => void} hooks.onStatus
   * @param {(epoch: number) => void} hooks.onEpoch
   * @param {() => void} hooks.onRevoked called when the server closed the socket because the session ended
   * @param {() => void} hooks.onWake called when the device may have slept
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  start() {
    this.#connect();
    setInterval(() => this.#checkHealth(), HEALTH_CHECK_MS);
    addEventListener("online", () => this.#wake());
    addEventListener("offline", () => this.#probe());
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.#wake(),
    );
    addEventListener("pagehide", () => close(this.#socket));
    addEventListener("pageshow", (event) => event.persisted && this.#wake());
  }

  /** Opens a new connection and resumes at the cursor. The server reads the session when a socket opens. */
  reconnect() {
    this.#drop();
    this.#connect();
  }

  /** Limits the frames about tickets to these tickets, or with `null` requests them for all tickets. */
  watch(ids) {
    this.#wanted = ids === null ? null : [...new Set(ids)].sort();
    this.#sendWanted();
  }

  #connect() {
    clearTimeout(this.#retryTimer ?? undefined);
    this.#retryTimer = null;
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("after", this.#cursor);
    const socket = new WebSocket(url);
    this.#socket = socket;
    const timeout = setTimeout(() => socket === this.#socket && this.#fail(), CONNECT_TIMEOUT_MS);
    socket.addEventListener("message", (event) => {
      clearTimeout(timeout);
      if (socket === this.#socket) this.#receive(event.data);
    });
    socket.addEventListener("close", (event) => {
      clearTimeout(timeout);
      if (socket !== this.#socket) return;
      if (event.code === POLICY_VIOLATION) this.#hooks.onRevoked();
      this.#fail();
    });
  }

  #receive(text) {
    this.#heardAt = performance.now();
    clearTimeout(this.#probeTimer ?? undefined);
    this.#probeTimer = null;
    const frame = JSON.parse(text);
    if (frame.cursor) this.#cursor = frame.cursor;
    switch (frame.type) {
      case "Hello":
        return this.#greeted(frame);
      case "Watching":
        return this.#confirmed(frame);
      case "Reset":
        return this.#advance();
      case "Error":
        return console.warn("the live connection refused a frame", frame.code);
      default:
        this.#hooks.onServerTime(Date.parse(frame.at), { isFirst: false });
        return this.#hooks.onFrame(frame);
    }
  }

  #greeted(frame) {
    this.#openedAt = performance.now();
    this.#covered = null;
    this.#hooks.onServerTime(Date.parse(frame.serverTime), { isFirst: true });
    this.#setStatus("live");
    if (!frame.resumed) this.#advance();
    this.#sendWanted();
  }

  #confirmed(frame) {
    const before = this.#covered;
    const watched = frame.tickets === null ? null : new Set(this.#wanted ?? []);
    this.#covered = watched;
    const wider =
      before !== null && (watched === null || [...watched].some((id) => !before.has(id)));
    if (wider) this.#advance();
  }

  #advance() {
    this.epoch += 1;
    this.#hooks.onEpoch(this.epoch);
  }

  #sendWanted() {
    if (
      this.#socket?.readyState !== WebSocket.OPEN ||
      this.status !== "live" ||
      this.#sendTimer !== null
    )
      return;
    if (this.#isCovered()) return;
    const wait = this.#sentAt + SEND_SPACING_MS - performance.now();
    if (wait > 0) {
      this.#sendTimer = setTimeout(() => {
        this.#sendTimer = null;
        this.#sendWanted();
      }, wait);
      return;
    }
    this.#send();
  }

  #isCovered() {
    if (this.#wanted === null || this.#covered === null) return this.#wanted === this.#covered;
    return (
      this.#wanted.length === this.#covered.size &&
      this.#wanted.every((id) => this.#covered?.has(id))
    );
  }

  #send() {
    this.#sentAt = performance.now();
    this.#socket?.send(
      JSON.stringify(
        this.#wanted === null ? { type: "WatchAll" } : { type: "Watch", tickets: this.#wanted },
      ),
    );
  }

  /** Checks the connection: sends the current watch again, and expects any frame within `PROBE_TIMEOUT_MS`. */
  #probe() {
    if (
      this.#socket?.readyState !== WebSocket.OPEN ||
      this.status !== "live" ||
      this.#probeTimer !== null
    )
      return;
    this.#send();
    const socket = this.#socket;
    this.#probeTimer = setTimeout(() => socket === this.#socket && this.#fail(), PROBE_TIMEOUT_MS);
  }

  /** Reconnects or probes at once, because the tab is visible again or the network is back. */
  #wake() {
    if (
      this.#retryTimer !== null ||
      this.#socket === null ||
      this.#socket.readyState > WebSocket.OPEN
    )
      this.reconnect();
    else this.#probe();
  }

  #checkHealth() {
    if (Math.abs(clockOffset() - this.#clockOffset) > CLOCK_JUMP_MS) {
      this.#clockOffset = clockOffset();
      this.#hooks.onWake();
      this.#wake();
    }
    if (this.status !== "live") return;
    if (performance.now() - this.#openedAt > STABLE_MS) this.#failures = 0;
    if (document.visibilityState === "visible" && performance.now() - this.#heardAt > SILENCE_MS)
      this.#probe();
  }

  #fail() {
    this.#drop();
    this.#failures += 1;
    this.#setStatus("lost");
    this.#retryTimer = setTimeout(() => this.#connect(), backoffMs(this.#failures));
  }

  #drop() {
    clearTimeout(this.#probeTimer ?? undefined);
    this.#probeTimer = null;
    const socket = this.#socket;
    this.#socket = null;
    close(socket);
  }

  #setStatus(status) {
    if (this.status === status) return;
    this.status = status;
    this.#hooks.onStatus(status);
  }
}

/** Returns how far the device's clock is ahead of `performance.now()`, in milliseconds. */
function clockOffset() {
  return Date.now() - performance.now();
}

/** Closes a socket. A connecting socket is closed after it opens, because browsers log an earlier close as an error. */
function close(socket) {
  if (socket?.readyState === WebSocket.CONNECTING)
    socket.addEventListener("open", () => socket.close(), { once: true });
  else socket?.close();
}

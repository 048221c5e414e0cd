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
  status = "connecting"; // "connecting" until the first Hello or the first failure, then "live" or "lost"
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
  #receivedAt = 0;
  #sentAt = 0;
  #openedAt = 0;
  #clockOffset = clockOffset();
  /** @type {string[] | null} */
  #requestedIds = null; // ids of the tickets to watch, or null for all
  /** @type {Set<string> | null} */
  #confirmedIds = null; // ids that the server confirmed, or null for all

  /**
   * @param {object} hooks
   * @param {(frame: object) => void} hooks.onFrame called with every frame except Hello, Watching, Reset and Error
   * @param {(serverMs: number, how: { isFirst: boolean }) => void} hooks.onServerTime
   * @param {(status: string) => void} hooks.onStatus
   * @param {(epoch: number) => void} hooks.onEpoch
   * @param {() => void} hooks.onRevoked called when the server closed the socket with 1008; the session may have ended
   * @param {() => void} hooks.onClockJump called when the device may have slept
   */
  constructor(hooks) {
    this.#hooks = hooks;
  }

  start() {
    this.#connect();
    setInterval(() => this.#checkHealth(), HEALTH_CHECK_MS);
    addEventListener("online", () => this.#reconnectOrProbe());
    addEventListener("offline", () => this.#probe());
    document.addEventListener(
      "visibilitychange",
      () => document.visibilityState === "visible" && this.#reconnectOrProbe(),
    );
    addEventListener("pagehide", () => close(this.#socket));
    addEventListener("pageshow", (event) => event.persisted && this.#reconnectOrProbe());
  }

  /** Opens a new connection and resumes at the cursor. The server reads the session when a socket opens. */
  reconnect() {
    this.#closeSocket();
    this.#connect();
  }

  /** Limits the frames about tickets to these tickets, or with `null` requests them for all tickets. */
  watch(ids) {
    this.#requestedIds = ids === null ? null : [...new Set(ids)].sort();
    this.#sendWatchIfChanged();
  }

  #connect() {
    clearTimeout(this.#retryTimer ?? undefined);
    this.#retryTimer = null;
    const url = new URL("/ws", location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.#cursor) url.searchParams.set("after", this.#cursor);
    const socket = new WebSocket(url);
    this.#socket = socket;
    const timeout = setTimeout(
      () => socket === this.#socket && this.#onFailure(),
      CONNECT_TIMEOUT_MS,
    );
    socket.addEventListener("message", (event) => {
      clearTimeout(timeout);
      if (socket === this.#socket) this.#receive(event.data);
    });
    socket.addEventListener("close", (event) => {
      clearTimeout(timeout);
      if (socket !== this.#socket) return;
      if (event.code === POLICY_VIOLATION) this.#hooks.onRevoked();
      this.#onFailure();
    });
  }

  #receive(text) {
    this.#receivedAt = performance.now();
    clearTimeout(this.#probeTimer ?? undefined);
    this.#probeTimer = null;
    const frame = JSON.parse(text);
    if (frame.cursor) this.#cursor = frame.cursor;
    switch (frame.type) {
      case "Hello":
        return this.#onHello(frame);
      case "Watching":
        return this.#onWatching(frame);
      case "Reset":
        return this.#startEpoch();
      case "Error":
        return console.warn("the live connection refused a frame", frame.code);
      default:
        this.#hooks.onServerTime(Date.parse(frame.at), { isFirst: false });
        return this.#hooks.onFrame(frame);
    }
  }

  #onHello(frame) {
    this.#openedAt = performance.now();
    this.#confirmedIds = null;
    this.#hooks.onServerTime(Date.parse(frame.serverTime), { isFirst: true });
    this.#setStatus("live");
    if (!frame.resumed) this.#startEpoch();
    this.#sendWatchIfChanged();
  }

  #onWatching(frame) {
    const before = this.#confirmedIds;
    const watched = frame.tickets === null ? null : new Set(this.#requestedIds ?? []);
    this.#confirmedIds = watched;
    const wider =
      before !== null && (watched === null || [...watched].some((id) => !before.has(id)));
    if (wider) this.#startEpoch();
  }

  #startEpoch() {
    this.epoch += 1;
    this.#hooks.onEpoch(this.epoch);
  }

  #sendWatchIfChanged() {
    if (
      this.#socket?.readyState !== WebSocket.OPEN ||
      this.status !== "live" ||
      this.#sendTimer !== null
    )
      return;
    if (this.#isConfirmed()) return;
    const wait = this.#sentAt + SEND_SPACING_MS - performance.now();
    if (wait > 0) {
      this.#sendTimer = setTimeout(() => {
        this.#sendTimer = null;
        this.#sendWatchIfChanged();
      }, wait);
      return;
    }
    this.#sendWatch();
  }

  #isConfirmed() {
    if (this.#requestedIds === null || this.#confirmedIds === null)
      return this.#requestedIds === this.#confirmedIds;
    return (
      this.#requestedIds.length === this.#confirmedIds.size &&
      this.#requestedIds.every((id) => this.#confirmedIds?.has(id))
    );
  }

  #sendWatch() {
    this.#sentAt = performance.now();
    this.#socket?.send(
      JSON.stringify(
        this.#requestedIds === null
          ? { type: "WatchAll" }
          : { type: "Watch", tickets: this.#requestedIds },
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
    this.#sendWatch();
    const socket = this.#socket;
    this.#probeTimer = setTimeout(
      () => socket === this.#socket && this.#onFailure(),
      PROBE_TIMEOUT_MS,
    );
  }

  /** Reconnects or probes at once, because the tab is visible again or the network is back. */
  #reconnectOrProbe() {
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
      this.#hooks.onClockJump();
      this.#reconnectOrProbe();
    }
    if (this.status !== "live") return;
    if (performance.now() - this.#openedAt > STABLE_MS) this.#failures = 0;
    if (document.visibilityState === "visible" && performance.now() - this.#receivedAt > SILENCE_MS)
      this.#probe();
  }

  #onFailure() {
    this.#closeSocket();
    this.#failures += 1;
    this.#setStatus("lost");
    this.#retryTimer = setTimeout(() => this.#connect(), backoffMs(this.#failures));
  }

  #closeSocket() {
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

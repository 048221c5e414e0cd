// The live connection of this page, connected to the store.

import { observe } from "../core/clock.js";
import { Live } from "../net/live.js";
import { refreshQuietly } from "./session.js";
import { store } from "./store.js";

export const live = new Live({
  onFrame: (frame) => store.apply(frame),
  onServerTime: observe,
  onStatus: (status) => store.setConnection(status),
  onEpoch: (epoch) => store.emitEpoch(epoch),
  onRevoked: refreshQuietly,
  onClockJump: refreshQuietly, // the response contains the server's time
});

/** Returns whether the page is connected, so that the shown state is current. */
export function isLive() {
  return live.status === "live";
}

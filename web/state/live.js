// The live connection of this page, wired to the store.

import { observe } from "../core/clock.js";
import { Live } from "../net/live.js";
import { refreshQuietly } from "./session.js";
import { store } from "./store.js";

export const live = new Live({
  onFrame: (frame) => store.apply(frame),
  onServerTime: observe,
  onStatus: (status) => store.setConnection(status),
  onEpoch: (epoch) => store.announceEpoch(epoch),
  onRevoked: refreshQuietly,
  onWake: refreshQuietly, // its answer has the server's time
});

/** Whether what is shown can be relied on: a page that is not connected does not know. */
export function isLive() {
  return live.status === "live";
}

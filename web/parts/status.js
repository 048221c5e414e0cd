// The status of a ticket as a small label, and in one word or line. Live changes update it in place.

import { secondsUntil } from "../core/clock.js";
import { setAttribute, setText } from "../core/dom.js";
import { countdown } from "../words/format.js";
import { texts } from "../words/texts.js";

/** Whether the lock of a ticket has ended while the server has not released or sold the ticket yet. */
export function isOver({ status, unlocksAt }) {
  return status === "Locked" && Boolean(unlocksAt) && secondsUntil(Date.parse(unlocksAt)) === 0;
}

/** Returns the displayed status: "available", "locked", "sold" or "gone". */
export function kindOf(ticket) {
  if (ticket.gone) return ticket.status === "Sold" ? "sold" : "gone";
  return ticket.status.toLowerCase();
}

/** Returns the status in a few words. The seconds of the lock follow the server's clock. */
export function statusWords(ticket) {
  switch (kindOf(ticket)) {
    case "available":
      return texts.status.available;
    case "locked":
      return lockedWords(ticket);
    case "sold":
      return texts.status.sold;
    default:
      return texts.status.gone;
  }
}

/** Updates a status label. */
export function showStatus(label, ticket) {
  setAttribute(label, "class", `status status-${kindOf(ticket)}`);
  setText(label, statusWords(ticket));
}

function lockedWords(ticket) {
  if (isOver(ticket)) return texts.status.lockEnded;
  if (!ticket.unlocksAt) return texts.status.locked;
  return texts.status.lockedFor(countdown(secondsUntil(Date.parse(ticket.unlocksAt))));
}

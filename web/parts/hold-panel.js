// The remaining time of a reservation: large digits, a shrinking bar, and announcements at important moments.

import { now, onSecond, secondsUntil } from "../core/clock.js";
import { h, setAttribute, setText } from "../core/dom.js";
import { moment, spoken } from "../words/format.js";
import { texts } from "../words/texts.js";
import { announce } from "./announcer.js";
import { countdownTo } from "./countdown.js";

const SAID_AT_S = [300, 120, 60, 30, 10];
const URGENT_S = 60;

/** Returns `{ element, show(order) }`. It counts by the server's clock until the signal aborts. */
export function holdPanel(signal) {
  const label = h("p", { class: "hold-label" });
  const figures = countdownTo(new Date(now()).toISOString(), "hold-figures");
  const left = h("div", { class: "hold-bar-left" });
  const bar = h("div", { class: "hold-bar", "aria-hidden": "true" }, left);
  const until = h("p", { class: "quiet" });
  const element = h(
    "section",
    { class: "hold", "aria-label": texts.order.timeLeftLabel },
    label,
    figures,
    bar,
    until,
  );
  let order = /** @type {import("../state/store.js").Order | null} */ (null);

  function target(order) {
    return order.status === "AwaitingPayment" ? order.unlocksAt : order.expiresAt;
  }

  function tick() {
    if (!order || element.closest("[hidden]")) return;
    const seconds = secondsUntil(Date.parse(target(order)));
    const whole = Date.parse(target(order)) - Date.parse(order.createdAt);
    const share = Math.min(1, Math.max(0, (Date.parse(target(order)) - now()) / whole));
    left.style.transform = `scaleX(${share.toFixed(4)})`;
    setAttribute(element, "data-urgent", seconds <= URGENT_S);
    if (seconds === 0) setText(label, texts.order.timeOver);
    if (SAID_AT_S.includes(seconds)) announce(texts.order.leftToPay(spoken(seconds)));
  }

  function show(next) {
    order = next;
    figures.until = Date.parse(target(next));
    const paying = next.status === "AwaitingPayment";
    setText(label, paying ? texts.order.timeToFinish : texts.order.timeToPay);
    setText(until, texts.order.payBy(moment(target(next))));
    tick();
  }

  onSecond(tick, signal);
  return { element, show };
}

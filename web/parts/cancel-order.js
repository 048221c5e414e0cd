// Cancellation of an order. It asks for confirmation, because the ticket becomes available to others at once.

import { h } from "../core/dom.js";
import { Problem } from "../net/api.js";
import { once } from "../net/once.js";
import { texts } from "../words/texts.js";
import { noticeBox } from "./notice.js";
import { question } from "./question.js";

/**
 * Returns `{ element, show(order) }`.
 * @param {() => Promise<void>} reload loads the order again, because the frame about the cancellation may be missed
 */
export function cancelOrder(first, reload) {
  const box = noticeBox();
  const start = h("button", { type: "button", class: "button button-quiet" }, texts.order.cancel);
  const asking = question(start, {
    text: texts.order.cancelQuestion,
    yes: texts.order.cancelYes,
    no: texts.order.cancelNo,
    act: cancel,
  });
  const element = h("div", { class: "cancel" }, box.element, start, asking.element);
  let working = false;

  async function cancel() {
    if (working) return;
    working = true;
    box.clear();
    try {
      await once("DELETE", `/api/orders/${first.id}`);
      await reload();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      box.refuse(problem);
      reload();
      asking.close();
    } finally {
      working = false;
    }
  }

  return {
    element,
    show: (order) => {
      if (!["Created", "AwaitingPayment"].includes(order.status)) asking.close();
    },
  };
}

// Cancelling an order: asked once more, since the ticket is free for others at once.

import { fill, h } from "../core/dom.js";
import { Problem } from "../net/api.js";
import { once } from "../net/once.js";
import { texts } from "../words/texts.js";
import { noticeBox } from "./notice.js";

/** `{ element, show(order) }`. */
export function cancelOrder(first) {
  const box = noticeBox();
  const start = h("button", { type: "button", class: "button button-quiet" }, texts.order.cancel);
  const question = h("div", { class: "removal" });
  const element = h("div", { class: "cancel" }, box.element, start, question);
  let working = false;

  async function cancel() {
    if (working) return;
    working = true;
    box.clear();
    try {
      await once("DELETE", `/api/orders/${first.id}`);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      box.refuse(problem);
    } finally {
      working = false;
      close();
    }
  }

  function ask() {
    const yes = h(
      "button",
      { type: "button", class: "button button-danger", on: { click: cancel } },
      texts.order.cancelYes,
    );
    const no = h(
      "button",
      {
        type: "button",
        class: "button",
        on: {
          click: () => {
            close();
            start.focus();
          },
        },
      },
      texts.order.cancelNo,
    );
    fill(
      question,
      h("p", {}, texts.order.cancelQuestion),
      h("div", { class: "form-actions" }, yes, no),
    );
    start.hidden = true;
    yes.focus();
  }

  function close() {
    fill(question);
    start.hidden = false;
  }

  start.addEventListener("click", ask);
  return {
    element,
    show: (order) => {
      if (!["Created", "AwaitingPayment"].includes(order.status)) close();
    },
  };
}

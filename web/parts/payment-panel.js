// The payment of an order: choose a card, pay, confirm at the bank if necessary, try another card after a decline.

import { secondsUntil } from "../core/clock.js";
import { fill, h, setAttribute, setText } from "../core/dom.js";
import { Problem, request } from "../net/api.js";
import { once } from "../net/once.js";
import { sandboxCards } from "../pay/sandbox.js";
import { stripeCards } from "../pay/stripe.js";
import { store } from "../state/store.js";
import { money } from "../words/format.js";
import { declineText, paymentLimitText } from "../words/refusals.js";
import { texts } from "../words/texts.js";
import { announce } from "./announcer.js";
import { noticeBox } from "./notice.js";

/**
 * Returns `{ element, show(charges) }`. Changes of the order arrive through the store.
 * @param {() => Promise<void>} reload loads the order and its charges again, because frames about them may be missed
 */
export function paymentPanel(first, terms, reload) {
  const price = money(first.price, terms.currency);
  const box = noticeBox();
  const cards = h("div", { class: "card-host" });
  const pay = h("button", { type: "submit", class: "button button-primary button-wide" });
  const form = h(
    "form",
    { class: "form", novalidate: true },
    cards,
    box.element,
    h("div", { class: "pay-dock" }, pay),
  );
  const confirm = h(
    "button",
    { type: "button", class: "button button-primary button-wide" },
    texts.payment.confirm,
  );
  const question = h("strong", { id: "confirm-question" }, texts.payment.bankAsks);
  const waiting = h(
    "div",
    {
      class: "confirm",
      role: "group",
      "aria-labelledby": question.id,
      tabindex: "-1",
      hidden: true,
    },
    h("p", {}, question, ` ${texts.payment.bankHelp}`),
    confirm,
  );
  const element = h(
    "section",
    { class: "payment", "aria-label": texts.payment.label },
    waiting,
    form,
  );
  let method = /** @type {import("../pay/sandbox.js").PaymentMethod | null} */ (null);
  let working = false;
  let open = /** @type {import("../state/store.js").Charge | null} */ (null); // the charge that waits for the buyer's confirmation
  let shown = false;

  async function mountCards() {
    box.clear();
    try {
      method = terms.stripePublishableKey
        ? await stripeCards(cards, {
            key: terms.stripePublishableKey,
            price: first.price,
            currency: terms.currency,
          })
        : sandboxCards(cards);
    } catch (problem) {
      box.refuse(
        problem,
        h(
          "button",
          { type: "button", class: "button", on: { click: mountCards } },
          texts.actions.tryAgain,
        ),
      );
    }
  }

  async function work(action) {
    if (working) return;
    working = true;
    box.clear();
    showBusy();
    try {
      await action();
    } catch (problem) {
      await refused(problem);
      reveal();
    } finally {
      working = false;
      showBusy();
    }
  }

  /** @param {import("../pay/sandbox.js").PaymentMethod} method */
  async function submit(method) {
    const token = await method.token();
    const { status, data } = await once(
      "POST",
      "/api/charges",
      { orderId: first.id, token },
      { onRetry: sayStill },
    );
    store.putCharges([data]);
    if (status === 202 && terms.stripePublishableKey) await finish(method, data);
  }

  async function finish(method, charge) {
    // After a reload the charge comes from a list, which holds no client secrets.
    const secret =
      charge.clientSecret ?? (await request("GET", `/api/charges/${charge.id}`)).data.clientSecret;
    await method.act(secret);
    const { status, data } = await once(
      "POST",
      `/api/charges/${charge.id}/confirm`,
      {},
      { onRetry: sayStill },
    );
    store.putCharges([data]);
    if (status === 202) box.say("warn", texts.payment.notConfirmed, texts.payment.notConfirmedHelp);
  }

  function sayStill() {
    box.say("warn", texts.payment.stillWaiting, texts.payment.notTwice);
  }

  async function refused(problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code === "card_refused") return box.say("bad", problem.message);
    if (problem.code === "card_declined") {
      await reload();
      const failed = store.charges(first.id).filter(({ status }) => status === "Failed");
      const { what, advice } = declineText(failed.at(-1));
      return box.say("bad", what, advice);
    }
    reload();
    if (problem.code === "too_many_requests") {
      const { what, advice } = paymentLimitText(problem, secondsUntil(Date.parse(first.unlocksAt)));
      return box.say("bad", what, advice);
    }
    box.refuse(problem);
  }

  function showBusy() {
    setText(pay, working ? texts.payment.paying : texts.payment.pay(price));
    for (const button of [pay, confirm])
      setAttribute(button, "aria-busy", working ? "true" : false);
  }

  function show(charges) {
    const last = charges.at(-1);
    open = last?.status === "Created" ? last : null;
    showWaiting(open !== null && (!working || !waiting.hidden), shown);
    shown = true;
  }

  /** Shows the box for the confirmation. If it appears on an open page, it is scrolled to, focused and announced. */
  function showWaiting(wanted, appears) {
    if (wanted === !waiting.hidden) return;
    const hadFocus = waiting.contains(document.activeElement);
    waiting.hidden = !wanted;
    if (hadFocus) pay.focus();
    if (!wanted || !appears) return;
    waiting.scrollIntoView({ block: "center" });
    waiting.focus({ preventScroll: true });
    announce(`${texts.payment.bankAsks} ${texts.payment.bankHelp}`);
  }

  /** Scrolls to the message, which is above the pressed button and may be outside the window. */
  function reveal() {
    box.element.scrollIntoView({ block: "nearest" });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const chosen = method;
    if (chosen) work(() => submit(chosen)).then(() => show(store.charges(first.id)));
  });
  confirm.addEventListener("click", () => method && work(() => finish(method, open)));
  fill(cards);
  mountCards();
  showBusy();
  return { element, show };
}

// One order: the remaining time, the payment, and the outcome.

import { secondsUntil } from "../core/clock.js";
import { fill, h, setAttribute } from "../core/dom.js";
import { request } from "../net/api.js";
import { announce } from "../parts/announcer.js";
import { cancelOrder } from "../parts/cancel-order.js";
import { holdPanel } from "../parts/hold-panel.js";
import { notice } from "../parts/notice.js";
import { paymentPanel } from "../parts/payment-panel.js";
import { detailsCard } from "../parts/ticket-details.js";
import { showLoadError } from "../parts/trouble.js";
import { keepFresh } from "../state/fresh.js";
import { live } from "../state/live.js";
import { settings } from "../state/settings.js";
import { store } from "../state/store.js";
import { moment, money } from "../words/format.js";
import { declineText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";

export const orderPage = { name: "order", title: screens.order, needsUser: true, mount };

const PAYABLE = ["Created", "AwaitingPayment"];

function mount({ root, params, signal, setTitle, listAddress, ready }) {
  const id = params.id;
  let view = /** @type {ReturnType<typeof build> | null} */ (null);
  let terms = /** @type {import("../state/settings.js").Settings | null} */ (null);

  function show() {
    const order = store.order(id);
    if (!order || !terms) return;
    setTitle(texts.order.titleOf(order.ticket.title));
    view ??= build({ root, signal, listAddress, reload: load }, order, terms);
    view.show(order);
    ready();
  }

  const load = keepFresh(
    async () => {
      const [order, charges, loaded] = await Promise.all([
        request("GET", `/api/orders/${id}`, { signal }),
        request("GET", `/api/orders/${id}/charges`, { signal }),
        settings(),
      ]);
      terms = loaded;
      store.putCharges(charges.data);
      store.putOrders([order.data]);
      live.watch([order.data.ticketId]);
      show();
    },
    (problem, retry) => !view && showLoadError(root, problem, retry),
    signal,
  );
  store.watch(`order:${id}`, show, signal);
  // No frame reports that the payment of an order began or succeeded. The frames of its charges do.
  store.watch(
    `charges:${id}`,
    (charge) => {
      show();
      if (outdated(store.order(id), charge)) load();
    },
    signal,
  );
}

function build({ root, signal, listAddress, reload }, first, terms) {
  const outcome = h("div", { class: "outcome", role: "group", tabindex: "-1" });
  const hold = holdPanel(signal);
  const payment = h("div");
  const cancel = cancelOrder(first, reload);
  const attempts = h("div", { class: "attempts" });
  const payable = h("div", { class: "payable" }, hold.element, payment, cancel.element);
  fill(
    root,
    h(
      "p",
      { class: "crumb" },
      h("a", { href: listAddress("/orders"), "data-back": true }, screens.orders),
    ),
    h(
      "div",
      { class: "split" },
      summary(first, terms.currency),
      h("div", { class: "side" }, outcome, payable, attempts),
    ),
  );
  let panel = /** @type {ReturnType<typeof paymentPanel> | null} */ (null);
  let shown = /** @type {import("../state/store.js").Order | null} */ (null);

  function show(order) {
    const open = PAYABLE.includes(order.status);
    const charges = store.charges(order.id);
    const wasThere = payable.contains(document.activeElement);
    payable.hidden = !open;
    if (open) {
      panel ??= paymentPanel(first, terms, reload);
      if (!payment.hasChildNodes()) payment.append(panel.element);
      hold.show(order);
      panel.show(charges);
    }
    cancel.show(order);
    fill(attempts, attemptList(charges));
    if (shown?.status !== order.status) {
      fill(outcome, outcomeOf(order, charges, terms.currency));
      if (!open) {
        const words = outcome.querySelector("p")?.textContent ?? ""; // without the links
        setAttribute(outcome, "aria-label", words);
        if (shown) announce(words);
        if (wasThere) outcome.focus();
      }
      shown = order;
    }
  }

  return { show };
}

/** Whether a charge shows a later state of its order than the order in the store. */
function outdated(order, { status }) {
  return (status === "Completed" && order?.status !== "Completed") || order?.status === "Created";
}

function summary(order, currency) {
  const card = detailsCard(
    order.ticket,
    h("p", { class: "price" }, money(order.price, currency)),
    h("p", { class: "quiet" }, texts.order.ordered(moment(order.createdAt))),
  );
  return card.element;
}

function outcomeOf(order, charges, currency) {
  const ticket = `/tickets/${order.ticketId}`;
  switch (order.status) {
    case "Completed":
      return notice(
        "good",
        texts.order.bought,
        texts.order.paid(money(order.price, currency)),
        h("a", { href: "/orders" }, texts.actions.seeOrders),
      );
    case "Cancelled":
      return order.cancelReason === "expired"
        ? notice(
            "warn",
            texts.order.expired,
            `${kept(charges)} ${freeAgain(order)}`,
            h("a", { href: ticket }, texts.actions.viewTicket),
            h("a", { href: "/" }, texts.actions.seeTickets),
          )
        : notice(
            "warn",
            texts.order.cancelled,
            `${kept(charges)} ${texts.order.forSaleAgain}`,
            h("a", { href: ticket }, texts.actions.viewTicket),
            h("a", { href: "/" }, texts.actions.seeTickets),
          );
    default:
      return null;
  }
}

function kept(charges) {
  return charges.some(({ stripeRefundId }) => stripeRefundId)
    ? texts.order.refunded
    : texts.order.notCharged;
}

function freeAgain({ unlocksAt }) {
  return secondsUntil(Date.parse(unlocksAt)) > 0
    ? texts.order.availableBy(moment(unlocksAt))
    : texts.order.mayBeAvailable;
}

function attemptList(charges) {
  const ended = charges.filter(({ status }) => status !== "Created");
  if (ended.length === 0) return null;
  return [
    h("h2", {}, texts.order.payments),
    h(
      "ul",
      { class: "facts" },
      ended.map((charge) =>
        h(
          "li",
          {},
          h("span", {}, chargeWords(charge)),
          h("span", { class: "quiet" }, moment(charge.updatedAt)),
        ),
      ),
    ),
  ];
}

function chargeWords({ status, amount, currency, failure, stripeRefundId }) {
  if (status === "Completed") return texts.order.chargePaid(money(amount, currency));
  if (stripeRefundId) return texts.order.chargeRefunded(money(amount, currency));
  return failure?.code === "lock_lost" ? texts.order.chargeTooLate : declineText({ failure }).what;
}

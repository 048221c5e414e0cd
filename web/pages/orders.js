// My Orders: orders that are open or being paid, and the outcomes of the others.

import { onSecond, secondsUntil } from "../core/clock.js";
import { fill, h, setAttribute, setText } from "../core/dom.js";
import { request } from "../net/api.js";
import { announce } from "../parts/announcer.js";
import { KeyedList } from "../parts/keyed-list.js";
import { moreButton } from "../parts/more-button.js";
import { stub } from "../parts/stub.js";
import { rowDetails } from "../parts/ticket-details.js";
import { showLoadError } from "../parts/trouble.js";
import { keepFresh } from "../state/fresh.js";
import { settings } from "../state/settings.js";
import { store } from "../state/store.js";
import { countdown, moment, money } from "../words/format.js";
import { refusalText } from "../words/refusals.js";
import { screens, texts } from "../words/texts.js";

export const ordersPage = {
  name: "orders",
  title: screens.orders,
  needsUser: true,
  isList: true,
  mount,
};

const ACTIVE = ["Created", "AwaitingPayment"];

function mount({ root, signal, ready }) {
  let view = /** @type {ReturnType<typeof build> | null} */ (null);
  let next = /** @type {string | null} */ (null);
  let terms = /** @type {import("../state/settings.js").Settings | null} */ (null);

  function show() {
    if (!terms) return;
    view ??= build(root, terms.currency, more);
    view.show(store.orders(), next !== null);
    ready();
  }

  async function more() {
    try {
      if (next === null) return [];
      const page = await request("GET", next, { signal });
      next = page.next;
      store.putOrders(page.data);
      show();
      return page.data.map(({ id }) => id);
    } catch (problem) {
      if (!signal.aborted) announce(refusalText(problem).what); // the button stays, so that the user can retry
      return [];
    }
  }

  const load = keepFresh(
    async () => {
      const [active, all, loaded] = await Promise.all([
        request("GET", "/api/orders", { signal }),
        request("GET", "/api/orders?status=all", { signal }),
        settings(),
      ]);
      if (!terms) next = all.next; // later loads keep the rows that "Show more" has added
      terms = loaded;
      store.putOrders([...active.data, ...all.data]);
      show();
    },
    (problem, retry) => !view && showLoadError(root, problem, retry),
    signal,
  );
  store.watch("orders", show, signal);
  store.watch("charges", load, signal); // no frame reports that a payment began or succeeded; the frames of charges do
  onSecond(show, signal);
}

function build(root, currency, onMore) {
  const active = h("ul", { class: "order-rows" });
  const past = h("ul", { class: "order-rows" });
  const none = h("div", { class: "empty" });
  const history = h("h2", {}, texts.orders.past);
  const more = moreButton(texts.orders.more, past, onMore);
  fill(root, h("h1", { tabindex: "-1" }, screens.orders), none, active, history, past, more);
  const activeRows = new KeyedList(active, (order) => orderRow(order, currency));
  const pastRows = new KeyedList(past, (order) => orderRow(order, currency));

  function show(orders, hasMore) {
    const held = orders
      .filter(({ status }) => ACTIVE.includes(status))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
    const others = orders
      .filter(({ status }) => !ACTIVE.includes(status))
      .sort((a, b) => (a.id < b.id ? 1 : -1));
    activeRows.show(held);
    pastRows.show(others);
    history.hidden = others.length === 0;
    more.hidden = !hasMore;
    none.hidden = held.length > 0;
    if (none.childElementCount === 0)
      fill(
        none,
        h("p", {}, texts.orders.none),
        h(
          "p",
          { class: "empty-actions" },
          h("a", { class: "button button-primary", href: "/" }, texts.actions.seeTickets),
        ),
      );
  }

  return { show };
}

function orderRow(first, currency) {
  const status = h("span", { class: "status" });
  const element = h(
    "li",
    { class: "row row-static", "data-id": first.id },
    stub(first.ticket),
    h(
      "div",
      { class: "row-text" },
      h("a", { class: "row-link", href: `/orders/${first.id}` }, rowDetails(first.ticket).elements),
      status,
    ),
    h("span", { class: "row-price" }, money(first.price, currency)),
  );

  function show(order) {
    setAttribute(status, "class", `status status-${LOOKS[order.status]}`);
    setText(status, words(order));
  }

  return { element, show };
}

const LOOKS = {
  Created: "locked",
  AwaitingPayment: "locked",
  Completed: "available",
  Cancelled: "gone",
};

function words(order) {
  const end = order.status === "AwaitingPayment" ? order.unlocksAt : order.expiresAt;
  if (ACTIVE.includes(order.status) && secondsUntil(Date.parse(end)) === 0)
    return texts.orders.timeOver;
  switch (order.status) {
    case "Created":
      return texts.orders.leftToPay(countdown(secondsUntil(Date.parse(order.expiresAt))));
    case "AwaitingPayment":
      return texts.orders.paymentOpen(countdown(secondsUntil(Date.parse(order.unlocksAt))));
    case "Completed":
      return texts.orders.bought(moment(order.updatedAt));
    default:
      return order.cancelReason === "expired"
        ? texts.orders.expired(moment(order.updatedAt))
        : texts.orders.cancelled(moment(order.updatedAt));
  }
}

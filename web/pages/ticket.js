// One ticket: price, availability, and Buy. Its seller sees the editor instead.

import { now, onSecond } from "../core/clock.js";
import { fill, h, setAttribute, setText } from "../core/dom.js";
import { Problem, request } from "../net/api.js";
import { once } from "../net/once.js";
import { announce } from "../parts/announcer.js";
import { signInLink } from "../parts/form.js";
import { listingEditor } from "../parts/listing-editor.js";
import { noticeBox } from "../parts/notice.js";
import { isOver, kindOf, showStatus } from "../parts/status.js";
import { changedDetails, detailsCard } from "../parts/ticket-details.js";
import { showLoadError } from "../parts/trouble.js";
import { keepFresh } from "../state/fresh.js";
import { isLive, live } from "../state/live.js";
import { refreshUser } from "../state/session.js";
import { settings } from "../state/settings.js";
import { store } from "../state/store.js";
import { ago, moment, money, spoken } from "../words/format.js";
import { screens, texts } from "../words/texts.js";

/** Time without a response after which the page says that the ticket is not reserved yet. */
const SLOW_AFTER_MS = 3_000;

export const ticketPage = { name: "ticket", title: screens.ticket, mount };

function mount(context) {
  const { root, params, signal, setTitle, ready } = context;
  const id = params.id;
  let view = /** @type {ReturnType<typeof build> | null} */ (null);

  function show() {
    const ticket = store.ticket(id);
    if (!ticket) return;
    setTitle(ticket.title);
    // The end of a session does not remove what the seller has typed.
    const mine = store.user ? store.user.id === ticket.userId : (view?.mine ?? false);
    if (!view || view.mine !== mine) view = build({ ...context, reload: load }, ticket, mine);
    view.show(ticket);
    ready();
  }

  const load = keepFresh(
    async () => {
      const known = view && store.ticket(id);
      const { data } = await request("GET", `/api/tickets/${id}`, {
        signal,
        ifNoneMatch: known && !known.gone ? known.version : undefined,
      });
      if (data) store.putTickets([data]);
      live.watch([id]);
      if (store.user) store.putOrders((await request("GET", "/api/orders", { signal })).data);
      show();
    },
    (problem, retry) => {
      if (problem.code === "not_found" && store.ticket(id)) store.markMissing(id);
      else if (!view) showLoadError(root, problem, retry);
    },
    signal,
  );
  show();
  store.watch(`ticket:${id}`, show, signal);
  for (const topic of ["orders", "connection"]) store.watch(topic, show, signal);
  store.watch("user", load, signal);
  onSecond(show, signal);
}

function build({ root, signal, navigate, listAddress, reload }, first, mine) {
  const status = h("span", { class: "status" });
  const listed = h("p", { class: "quiet" });
  const price = h("p", { class: "price" });
  const side = h("div", { class: "side" });
  const card = detailsCard(first, listed);
  const action = mine
    ? listingEditor(first, { navigate, reload })
    : buyBox(first, { signal, navigate, reload });
  fill(
    root,
    h(
      "p",
      { class: "crumb" },
      h(
        "a",
        { href: listAddress(mine ? "/listings" : "/"), "data-back": true },
        mine ? screens.listings : screens.forSale,
      ),
    ),
    h(
      "div",
      { class: "split" },
      card.element,
      fill(side, h("div", { class: "side-head" }, price, status), action.element),
    ),
  );
  let kind = null;

  function show(ticket) {
    card.show(ticket);
    setText(price, money(ticket.price, ticket.currency));
    const when = ago(ticket.createdAt, now());
    setText(listed, mine ? texts.ticket.listedByYou(when) : texts.ticket.listed(when));
    showStatus(status, ticket);
    // While Buy waits for its response, the response is announced instead.
    if (kind && kind !== kindOf(ticket) && !action.isBusy())
      announce(() => announcementFor(store.ticket(ticket.id) ?? ticket, mine));
    kind = kindOf(ticket);
    action.show(ticket);
  }

  return { mine, show };
}

/** Returns the announcement for a changed ticket, for its seller, its buyer, or others. */
function announcementFor(ticket, mine) {
  const kind = kindOf(ticket);
  const { spoken, spokenToBuyer, spokenToSeller } = texts.ticket;
  if (mine) return spokenToSeller[kind];
  const isBuyer = ticket.orderId && store.order(ticket.orderId);
  return (isBuyer && spokenToBuyer[kind]) || spoken[kind];
}

/** The Buy button or the reason for its absence. A connected page shows the current state; otherwise the server decides. */
function buyBox(first, { signal, navigate, reload }) {
  const box = noticeBox();
  const button = h("button", { type: "button", class: "button button-primary button-wide" });
  const hint = h("p", { class: "quiet" });
  const element = h("div", { class: "buy" }, box.element, button, hint);
  let ticket = first;
  let terms = /** @type {import("../state/settings.js").Settings | null} */ (null);
  let working = false;

  settings().then(
    (loaded) => {
      terms = loaded;
      show(ticket);
    },
    () => {},
  );

  async function buy() {
    if (working || button.getAttribute("aria-disabled") === "true") return;
    const own = ownOrder();
    if (own) return navigate(`/orders/${own.id}`);
    if (store.user === null) return navigate(signInAddress(ticket));
    const seen = ticket;
    working = true;
    box.clear();
    show(ticket);
    try {
      await placeOrder(seen);
    } catch (problem) {
      await refused(problem, seen);
    } finally {
      working = false;
      if (!signal.aborted) show(ticket);
    }
  }

  /** Orders the ticket in the version that the buyer saw, after the signed-in user is known. */
  async function placeOrder(seen) {
    if (store.user === undefined) await refreshUser();
    if (store.user === null) return navigate(signInAddress(seen));
    const order = {
      ticketId: seen.id,
      expectedPrice: seen.price,
      expectedVersion: seen.version,
    };
    const slow = setTimeout(sayStill, SLOW_AFTER_MS);
    const sent = once("POST", "/api/orders", order, { onRetry: sayStill });
    const { data } = await sent.finally(() => clearTimeout(slow));
    store.putOrders([data]);
    if (signal.aborted) return;
    announce(texts.ticket.spokenToBuyer.locked);
    navigate(`/orders/${data.id}`);
  }

  function sayStill() {
    if (!signal.aborted) box.say("warn", texts.ticket.stillWaiting, texts.ticket.stillWaitingHelp);
  }

  async function refused(problem, seen) {
    if (!(problem instanceof Problem)) throw problem;
    box.refuse(problem, ...ways(problem));
    // The page showed another state than the server has.
    await reload();
    if (["ticket_changed", "price_changed"].includes(problem.code)) sayChanged(seen);
  }

  /** Says which details the seller has changed since the version `seen`, if any. */
  function sayChanged(seen) {
    const changed = changedDetails(seen, ticket);
    if (changed.length === 0) return;
    const labels = changed.map(({ label }) => label);
    if (ticket.price !== seen.price) labels.push(texts.form.price);
    const { detailsChanged, detailBefore } = texts.ticket;
    box.say("warn", detailsChanged(...labels), detailBefore(changed[0].formerText));
  }

  function ownOrder() {
    const order = ticket.orderId && store.order(ticket.orderId);
    return order && ["Created", "AwaitingPayment"].includes(order.status) ? order : null;
  }

  function show(next) {
    const before = ticket;
    ticket = next;
    if (!working) sayChanged(before);
    const kind = kindOf(ticket);
    const own = ownOrder();
    const shut = !own && (kind === "sold" || kind === "gone" || (kind === "locked" && isLive()));
    setText(
      button,
      working
        ? texts.ticket.buying
        : own
          ? texts.ticket.continueOrder
          : store.user === null
            ? texts.ticket.signInToBuy
            : texts.ticket.buy,
    );
    setAttribute(button, "aria-busy", working ? "true" : false);
    setAttribute(button, "aria-disabled", shut ? "true" : false);
    setText(hint, own ? texts.ticket.reservedForYou : hintFor(kind, ticket, terms));
  }

  button.addEventListener("click", buy);
  return { element, show, isBusy: () => working };
}

function signInAddress({ id }) {
  return `/signin?next=${encodeURIComponent(`/tickets/${id}`)}`;
}

function hintFor(kind, ticket, terms) {
  switch (kind) {
    case "locked":
      if (isOver(ticket)) return texts.ticket.lockEnded;
      return ticket.unlocksAt
        ? texts.ticket.lockedUntil(moment(ticket.unlocksAt))
        : texts.ticket.lockedHint;
    case "sold":
      return texts.ticket.soldHint;
    case "gone":
      return texts.ticket.goneHint;
    default:
      return terms
        ? texts.ticket.buyHintFor(spoken(terms.paymentWindowSeconds))
        : texts.ticket.buyHint;
  }
}

function ways(problem) {
  switch (problem.code) {
    case "not_signed_in":
      return [signInLink()];
    case "too_many_locks":
      return [h("a", { href: "/orders" }, texts.actions.seeOrders)];
    case "ticket_locked":
    case "ticket_sold":
    case "not_found":
      return [h("a", { href: "/" }, texts.actions.seeTickets)];
    default:
      return [];
  }
}

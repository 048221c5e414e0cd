// The state of the marketplace, as far as this page has loaded it. Only REST snapshots and WebSocket frames change it: a click
// changes a ticket only after the server has confirmed it. Of two versions the newer one is used, from either source.

import { Topics } from "../core/topics.js";

/**
 * @typedef {{ id: string, email: string, emailVerified: boolean, pendingEmail: string | null }} User
 *
 * @typedef {object} TicketDetails what the seller has typed; an order has a copy
 * @property {string} title
 * @property {number} price in major units
 *
 * @typedef {object} TicketSale
 * @property {string} id
 * @property {string} currency
 * @property {string} userId the seller
 * @property {string | null} orderId the order that holds or bought it
 * @property {"Available" | "Locked" | "Sold"} status
 * @property {string | null} unlocksAt
 * @property {number} version
 * @property {string} createdAt
 * @property {boolean} [gone] taken off sale, or missing from a snapshot
 * @property {boolean} [isMissing] gone because it is missing from a snapshot
 *
 * @typedef {TicketDetails & TicketSale} Ticket
 *
 * @typedef {object} Order
 * @property {string} id
 * @property {string} userId the buyer
 * @property {"Created" | "AwaitingPayment" | "Completed" | "Cancelled"} status
 * @property {"expired" | "buyer" | null} cancelReason
 * @property {string} ticketId
 * @property {TicketDetails & { id: string, version: number }} ticket
 * @property {number} price
 * @property {string} expiresAt
 * @property {string} unlocksAt
 * @property {number} version
 * @property {string} createdAt
 * @property {string} updatedAt
 *
 * @typedef {object} Charge
 * @property {string} id
 * @property {string} orderId
 * @property {"Created" | "Failed" | "Completed"} status
 * @property {number} amount
 * @property {string} currency
 * @property {string | null} stripeRefundId
 * @property {{ code: string, message: string } | null} failure
 * @property {string} createdAt
 * @property {string} updatedAt
 * @property {string} [clientSecret]
 */

/** Maximum number of tickets from frames that are kept apart, so that a snapshot in flight cannot overwrite them. */
const RECENT_MAX = 2_000;

export class Store {
  #topics = new Topics();
  /** @type {User | null | undefined} */
  #user; // undefined until known, null when signed out
  #connection = "connecting";
  /** @type {boolean | null} */
  #polling = null;
  /** @type {Map<string, Ticket>} */
  #tickets = new Map();
  /** @type {Map<string, Ticket>} */
  #recent = new Map();
  /** @type {Map<string, Order>} */
  #orders = new Map();
  /** @type {Map<string, Map<string, Charge>>} */
  #charges = new Map();

  /**
   * Calls `listener` when the topic changes, until the signal aborts. Topics: `user`, `connection`, `polling`, `epoch`, `created`
   * (a ticket was listed), `tickets` (any loaded ticket, by id), `ticket:<id>`, `orders` (any), `order:<id>`, `charges` (any, by
   * order id), `charges:<order id>`, `otherUser` (private data of another user arrived: the session must be checked).
   */
  watch(topic, listener, signal) {
    this.#topics.watch(topic, listener, signal);
  }

  get user() {
    return this.#user;
  }

  /** Sets the signed-in user. Removes the private data of another user. */
  setUser(user) {
    const before = this.#user;
    this.#user = user;
    if (before?.id !== user?.id) {
      this.#orders.clear();
      this.#charges.clear();
    }
    if (before?.id !== user?.id || before?.email !== user?.email || before === undefined)
      this.#topics.emit("user", user);
  }

  get connection() {
    return this.#connection;
  }

  setConnection(status) {
    this.#connection = status;
    if (status === "live") this.setPolling(null);
    this.#topics.emit("connection", status);
  }

  /** Whether polling replaces the live connection: true while it succeeds, false while it fails, null without polling. */
  get polling() {
    return this.#polling;
  }

  setPolling(polling) {
    if (this.#polling === polling) return;
    this.#polling = polling;
    this.#topics.emit("polling", polling);
  }

  emitEpoch(epoch) {
    this.#topics.emit("epoch", epoch);
  }

  /** Returns the newest received version of a ticket. A ticket that was taken off sale keeps its values and has `gone: true`. */
  ticket(id) {
    return this.#tickets.get(id);
  }

  /** Stores the tickets of a snapshot. */
  putTickets(tickets) {
    for (const ticket of tickets) {
      const known = newest(this.#tickets.get(ticket.id), this.#recent.get(ticket.id));
      const isFoundAgain = known?.isMissing && ticket.version >= known.version;
      this.#setTicket(isFoundAgain ? ticket : newest(known, ticket));
    }
  }

  /** Marks a ticket that is missing from a snapshot: it was sold or taken off sale, but the snapshot does not show which. */
  markMissing(id) {
    const known = this.#tickets.get(id);
    if (known && !known.gone && known.status !== "Sold")
      this.#setTicket({ ...known, gone: true, isMissing: true });
  }

  /** Removes the tickets that no page shows. */
  retainTickets(ids) {
    const kept = new Set(ids);
    for (const id of this.#tickets.keys()) if (!kept.has(id)) this.#tickets.delete(id);
  }

  order(id) {
    return this.#orders.get(id);
  }

  orders() {
    return [...this.#orders.values()];
  }

  putOrders(orders) {
    for (const order of orders) {
      if (this.#user && order.userId !== this.#user.id) {
        this.#topics.emit("otherUser", order.userId);
        continue;
      }
      const known = this.#orders.get(order.id);
      if (known && known.version >= order.version) continue;
      this.#orders.set(order.id, order);
      this.#topics.emit(`order:${order.id}`, order);
      this.#topics.emit("orders", order);
    }
  }

  /** Returns the charges of an order, oldest first (ids ascend with time). */
  charges(orderId) {
    return [...(this.#charges.get(orderId)?.values() ?? [])].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  putCharges(charges) {
    for (const charge of charges) {
      const ofOrder = this.#charges.get(charge.orderId) ?? new Map();
      this.#charges.set(charge.orderId, ofOrder);
      const known = ofOrder.get(charge.id);
      if (known && known.updatedAt > charge.updatedAt) continue;
      const unchanged = known?.updatedAt === charge.updatedAt && known.status === charge.status;
      if (unchanged && (!charge.clientSecret || charge.clientSecret === known.clientSecret))
        continue;
      // Frames do not contain the client secret, so the secret from a response is kept while the charge needs it.
      const clientSecret =
        charge.clientSecret ?? (charge.status === "Created" ? known?.clientSecret : undefined);
      ofOrder.set(charge.id, { ...charge, clientSecret });
      this.#topics.emit(`charges:${charge.orderId}`, charge);
      this.#topics.emit("charges", charge.orderId);
    }
  }

  /** Applies one frame of the live connection. Delivery is at least once: a known version changes nothing. */
  apply(frame) {
    if (frame.ticket) this.#applyTicket(frame.ticket, frame.type === "TicketCreated");
    else if (frame.type === "TicketDeleted") this.#applyDeletion(frame.ticketId, frame.version);
    if (frame.order) this.putOrders([frame.order]);
    if (frame.charge) this.putCharges([frame.charge]);
    if (frame.type === "UserUpdated") this.#applyUser(frame.user);
  }

  /** Updates the signed-in user. A frame never signs in another user and never restores an ended session. */
  #applyUser(user) {
    if (this.#user?.id === user.id) this.setUser(user);
    else if (this.#user) this.#topics.emit("otherUser", user.id);
  }

  #applyTicket(ticket, created) {
    const known = newest(this.#tickets.get(ticket.id), this.#recent.get(ticket.id));
    if (known && known.version >= ticket.version) return;
    this.#addRecent(ticket);
    if (this.#tickets.has(ticket.id)) this.#setTicket(ticket);
    if (created) this.#topics.emit("created", ticket);
  }

  #applyDeletion(id, version) {
    const known = this.#tickets.get(id);
    this.#addRecent({ ...known, id, version, gone: true });
    if (known && known.version <= version) this.#setTicket({ ...known, version, gone: true });
  }

  #addRecent(ticket) {
    this.#recent.delete(ticket.id); // moves the ticket to the newest end
    this.#recent.set(ticket.id, ticket);
    if (this.#recent.size > RECENT_MAX)
      this.#recent.delete(String(this.#recent.keys().next().value));
  }

  #setTicket(ticket) {
    const known = this.#tickets.get(ticket.id);
    if (known === ticket) return;
    this.#tickets.set(ticket.id, ticket);
    if (known && known.version === ticket.version && Boolean(known.gone) === Boolean(ticket.gone))
      return;
    this.#topics.emit(`ticket:${ticket.id}`, ticket);
    this.#topics.emit("tickets", ticket.id);
  }
}

function newest(a, b) {
  if (!a || !b) return a ?? b;
  return b.version > a.version || (b.version === a.version && b.gone && !a.gone) ? b : a;
}

/** The only store of this page. */
export const store = new Store();

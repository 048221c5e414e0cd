// A user of the API without a browser, for instance a seller or a rival buyer.

import { randomUUID } from "node:crypto";

let count = 0;

export const PASSWORD = "correct horse battery";

/** Returns an email address that no other test uses. */
export function newEmail(name = "someone") {
  count += 1;
  return `${name}-${process.pid}-${count}@example.com`;
}

export class Account {
  #origin;
  cookie;

  /** Signs up a new user. */
  static async signUp(origin, name) {
    const account = new Account();
    account.#origin = origin;
    account.email = newEmail(name);
    const answer = await account.#fetch("POST", "/api/users/signup", {
      email: account.email,
      password: PASSWORD,
    });
    account.cookie = answer.headers
      .getSetCookie()
      .map((cookie) => cookie.split(";", 1)[0])
      .join("; ");
    account.id = (await answer.json()).id;
    return account;
  }

  /** Sends a request that must succeed. Returns its body. */
  async ask(method, path, body) {
    const answer = await this.#fetch(method, path, body);
    const text = await answer.text();
    return text === "" ? null : JSON.parse(text);
  }

  /** Lists a ticket. */
  list(title, price) {
    return this.ask("POST", "/api/tickets", { title, price });
  }

  /** Lists many tickets, several at a time, in no particular order. */
  async listMany(amount, titleOf, priceOf) {
    let next = 0;
    const work = async () => {
      while (next < amount) {
        const index = next;
        next += 1;
        await this.list(titleOf(index), priceOf(index));
      }
    };
    await Promise.all(Array.from({ length: 16 }, work));
  }

  lock(ticket) {
    return this.ask("POST", "/api/orders", { ticketId: ticket.id });
  }

  cancel(order) {
    return this.ask("DELETE", `/api/orders/${order.id}`);
  }

  pay(order) {
    return this.ask("POST", "/api/charges", { orderId: order.id, token: "pm_card_visa" });
  }

  async #fetch(method, path, body) {
    const headers = { "Content-Type": "application/json" };
    if (this.cookie) headers.Cookie = this.cookie;
    if (this.cookie && method !== "GET") headers["Idempotency-Key"] = randomUUID();
    const send = () =>
      fetch(this.#origin + path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
      });
    // A kept-alive connection may close at the moment of its reuse. The Idempotency-Key makes the second attempt safe.
    const answer = await send().catch(send);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }
}

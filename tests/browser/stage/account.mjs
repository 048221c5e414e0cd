// Somebody who uses the interface without a browser: a seller to buy from, a rival to lose against.

import { randomUUID } from "node:crypto";

let count = 0;

export const PASSWORD = "correct horse battery";

/** An email address that no other test uses. */
export function newEmail(name = "someone") {
  count += 1;
  return `${name}-${process.pid}-${count}@example.com`;
}

export class Account {
  #origin;
  cookie;

  /** Signs up somebody new. */
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

  /** Sends a request that is expected to work, and answers its body. */
  async ask(method, path, body) {
    const answer = await this.#fetch(method, path, body);
    const text = await answer.text();
    return text === "" ? null : JSON.parse(text);
  }

  /** Puts a ticket up for sale. */
  list(title, price) {
    return this.ask("POST", "/api/tickets", { title, price });
  }

  /** Puts many tickets up for sale, a few at a time, in no particular order. */
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
    // A connection that was kept alive may close just as it is used again; under its key, asking twice does nothing twice.
    const answer = await send().catch(send);
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return answer;
  }
}

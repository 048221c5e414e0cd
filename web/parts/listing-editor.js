// The seller's editor: change title and price, or take the ticket off sale. Both are refused while a buyer holds the ticket.

import { h, setAttribute, setText } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { Problem } from "../net/api.js";
import { once } from "../net/once.js";
import { isLive } from "../state/live.js";
import { store } from "../state/store.js";
import { money, priceToType } from "../words/format.js";
import { parsePrice } from "../words/price.js";
import { texts } from "../words/texts.js";
import { form } from "./form.js";
import { question } from "./question.js";
import { sharedField } from "./shared-field.js";
import { isOver, kindOf } from "./status.js";
import { priceField, titleField } from "./ticket-fields.js";

/**
 * Returns `{ element, show }` for a ticket of the signed-in user.
 * @param {import("../state/store.js").Ticket} first
 * @param {{ navigate: (address: string) => void, reload: () => Promise<void> }} page `reload` loads the ticket again
 */
export function listingEditor(first, { navigate, reload }) {
  const draftName = `ticket:${first.id}`;
  const draft = readDraft(draftName);
  let shown = first; // the fully shown version, to which a change is applied
  const title = titleField();
  const price = priceField(first.currency);
  const fields = [
    sharedField(title, {
      question: texts.listing.titleChanged,
      textOf: (ticket) => ticket.title,
      isSame: (typed, ticket) => typed === ticket.title,
      draft: draft.title,
      onChange: keepTyped,
    }),
    sharedField(price, {
      question: texts.listing.priceChanged,
      textOf: (ticket) => priceToType(ticket.price),
      isSame: (typed, { price, currency }) => isPrice(typed, price, currency),
      draft: draft.price,
      onChange: keepTyped,
    }),
  ];
  const state = h("p", { class: "hint", role: "status" });
  const remove = h(
    "button",
    { type: "button", class: "button button-quiet" },
    texts.listing.takeOff,
  );
  const editor = form({
    fields: [title, price],
    button: texts.listing.save,
    busy: texts.listing.saving,
    send: save,
    onRefused: refused,
    secondary: [remove],
  });
  const removal = question(remove, {
    text: texts.listing.takeOffQuestion,
    yes: texts.listing.takeOffYes,
    no: texts.listing.takeOffNo,
    act: takeOff,
  });
  const element = h(
    "section",
    { class: "editor", "aria-label": texts.listing.label },
    state,
    editor.element,
    removal.element,
  );

  async function save(values) {
    const conflict = fields.find((one) => one.hasConflict());
    if (conflict) {
      editor.box.say("warn", texts.listing.notSaved, texts.listing.chooseValue);
      return conflict.focus();
    }
    const body = { title: values.title, price: price.read() };
    const { data } = await once("PUT", `/api/tickets/${first.id}`, body, {
      ifMatch: shown.version,
    });
    fields[0].settle(values.title, data);
    fields[1].settle(values.price, data);
    keepTyped();
    store.putTickets([data]);
    show(store.ticket(first.id) ?? data);
    editor.box.say(
      "good",
      texts.listing.saved,
      texts.listing.buyersSee(money(data.price, data.currency)),
    );
  }

  async function takeOff() {
    try {
      await once("DELETE", `/api/tickets/${first.id}`, undefined, {
        ifMatch: shown.version,
      });
      store.markMissing(first.id);
      navigate("/listings");
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      removal.close();
      if (!refused(problem, editor.box)) editor.box.refuse(problem);
    }
  }

  function refused(problem, box) {
    if (!["version_mismatch", "ticket_locked", "ticket_sold", "not_found"].includes(problem.code))
      return false;
    reload();
    if (problem.code === "ticket_locked")
      box.say("bad", texts.listing.lockedRefusal, texts.listing.lockedHelp);
    else box.refuse(problem);
    return true;
  }

  /** Saves the draft, which contains only the fields that were typed in. */
  function keepTyped() {
    const [typedTitle, typedPrice] = fields.map((one) => one.draft());
    if (typedTitle || typedPrice) keepDraft(draftName, { title: typedTitle, price: typedPrice });
    else dropDraft(draftName);
  }

  function show(ticket) {
    shown = ticket;
    for (const one of fields) one.follow(ticket);
    const kind = kindOf(ticket);
    const over = kind === "sold" || kind === "gone";
    const shut = over || (kind === "locked" && isLive());
    editor.element.hidden = over;
    if (over) removal.close();
    for (const button of [editor.submit, remove])
      setAttribute(button, "aria-disabled", shut ? "true" : false);
    setText(state, stateWords(kind, ticket));
  }

  return { element, show, isBusy: () => false };
}

/** Whether the typed text means this price, in any notation. */
function isPrice(typed, price, currency) {
  const read = parsePrice(typed, { currency });
  return "value" in read && Number(read.value) === price;
}

/** Returns the line about the state. It has no countdown, because each change of the line is announced. */
function stateWords(kind, ticket) {
  switch (kind) {
    case "locked":
      return isOver(ticket) ? texts.listing.lockEnded : texts.listing.locked;
    case "sold":
      return texts.listing.sold(money(ticket.price, ticket.currency));
    case "gone":
      return texts.listing.gone;
    default:
      return texts.listing.forSale;
  }
}

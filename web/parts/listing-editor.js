// What its seller can do with a ticket: change title and price, or take it off sale; neither while a buyer holds it.

import { h, setAttribute, setText } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { Problem, request } from "../net/api.js";
import { once } from "../net/once.js";
import { isLive } from "../state/live.js";
import { store } from "../state/store.js";
import { money, priceToType } from "../words/format.js";
import { texts } from "../words/texts.js";
import { form } from "./form.js";
import { question } from "./question.js";
import { isOver, kindOf } from "./status.js";
import { priceField, titleField } from "./ticket-fields.js";

/** `{ element, show }` for a ticket of whoever is signed in. */
export function listingEditor(first, { navigate }) {
  const draftName = `ticket:${first.id}`;
  const draft = readDraft(draftName);
  let base = first; // what the form was filled from: a change by somebody else since then must not be overwritten unseen
  const title = titleField({ value: draft.title ?? first.title });
  const price = priceField(first.currency, { value: draft.price ?? priceToType(first.price) });
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
    const body = { title: values.title, price: price.read() };
    const { data } = await once("PUT", `/api/tickets/${base.id}`, body, { ifMatch: base.version });
    store.putTickets([data]);
    fillFrom(data);
    editor.box.say(
      "good",
      texts.listing.saved,
      texts.listing.buyersSee(money(data.price, data.currency)),
    );
  }

  async function takeOff() {
    try {
      await once("DELETE", `/api/tickets/${base.id}`, undefined, { ifMatch: base.version });
      store.loseTicket(base.id);
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
    request("GET", `/api/tickets/${base.id}`).then(
      ({ data }) => {
        store.putTickets([data]);
        base = data; // seen now: saving again is meant
      },
      () => {},
    );
    if (problem.code === "ticket_locked")
      box.say("bad", texts.listing.lockedRefusal, texts.listing.lockedHelp);
    else box.refuse(problem);
    return true;
  }

  function fillFrom(ticket) {
    dropDraft(draftName);
    base = ticket;
    title.input.value = ticket.title;
    price.input.value = priceToType(ticket.price);
  }

  function follow(ticket) {
    const untouched =
      title.input.value === base.title && price.input.value === priceToType(base.price);
    if (untouched && (ticket.title !== base.title || ticket.price !== base.price)) fillFrom(ticket);
    else if (ticket.title === base.title && ticket.price === base.price) base = ticket; // a lock came or went, no more
  }

  function show(ticket) {
    if (ticket.version > base.version) follow(ticket);
    const kind = kindOf(ticket);
    const over = kind === "sold" || kind === "gone";
    const shut = over || (kind === "locked" && isLive());
    editor.element.hidden = over;
    if (over) removal.close();
    for (const button of [editor.submit, remove])
      setAttribute(button, "aria-disabled", shut ? "true" : false);
    setText(state, stateWords(kind, ticket));
  }

  editor.element.addEventListener("input", () =>
    keepDraft(draftName, { title: title.input.value, price: price.input.value }),
  );
  return { element, show, isBusy: () => false };
}

/** No countdown in here: this line is read aloud when it changes. */
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

// The seller's editor: change the ticket, or take it off sale. Both are refused while a buyer holds the ticket.

import { h, setAttribute, setText } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { Problem } from "../net/api.js";
import { once } from "../net/once.js";
import { isLive } from "../state/live.js";
import { store } from "../state/store.js";
import { money } from "../words/format.js";
import { texts } from "../words/texts.js";
import { form } from "./form.js";
import { question } from "./question.js";
import { sharedField } from "./shared-field.js";
import { isOver, kindOf } from "./status.js";
import { requestBody, ticketFields } from "./ticket-fields.js";

/**
 * Returns `{ element, show }` for a ticket of the signed-in user.
 * @param {import("../state/store.js").Ticket} first
 * @param {{ navigate: (address: string) => void, reload: () => Promise<void> }} page `reload` loads the ticket again
 */
export function listingEditor(first, { navigate, reload }) {
  const draftName = `ticket:${first.id}`;
  const draft = readDraft(draftName);
  let shown = first; // the fully shown version, to which a change is applied
  const fields = ticketFields(first);
  const sharedFields = fields.map((one) =>
    sharedField(one, { draft: draft[one.name], onChange: keepTyped }),
  );
  const state = h("p", { class: "hint", role: "status" });
  const remove = h(
    "button",
    { type: "button", class: "button button-quiet" },
    texts.listing.takeOff,
  );
  const editor = form({
    fields,
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
    const conflict = sharedFields.find((one) => one.hasConflict());
    if (conflict) {
      editor.box.say("warn", texts.listing.notSaved, texts.listing.chooseValue);
      return conflict.focus();
    }
    const { data } = await once("PUT", `/api/tickets/${first.id}`, requestBody(fields), {
      ifMatch: shown.version,
    });
    for (const one of sharedFields) one.settle(values[one.name], data);
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
    const typed = sharedFields.filter((one) => one.draft());
    if (typed.length === 0) return dropDraft(draftName);
    keepDraft(draftName, Object.fromEntries(typed.map((one) => [one.name, one.draft()])));
  }

  function show(ticket) {
    shown = ticket;
    for (const one of sharedFields) one.follow(ticket);
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

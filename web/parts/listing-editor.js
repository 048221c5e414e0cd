// What its seller can do with a ticket: change title and price, or take it off sale; neither while a buyer holds it.

import { fill, h, setAttribute, setText } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { Problem, request } from "../net/api.js";
import { once } from "../net/once.js";
import { isLive } from "../state/live.js";
import { store } from "../state/store.js";
import { money, priceToType, typedPrice } from "../words/format.js";
import { texts } from "../words/texts.js";
import { field, form } from "./form.js";
import { kindOf } from "./status.js";

/** `{ element, show }` for a ticket of whoever is signed in. */
export function listingEditor(first, { navigate }) {
  const draftName = `ticket:${first.id}`;
  const draft = readDraft(draftName);
  let base = first; // what the form was filled from: a change by somebody else since then must not be overwritten unseen
  const title = field("title", texts.form.title, {
    maxlength: "200",
    value: draft.title ?? first.title,
    autocomplete: "off",
  });
  const price = field("price", texts.form.priceIn(first.currency), {
    inputmode: "decimal",
    value: draft.price ?? priceToType(first.price),
    autocomplete: "off",
  });
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
  const removal = h("div", { class: "removal" });
  const element = h(
    "section",
    { class: "editor", "aria-label": texts.listing.label },
    state,
    editor.element,
    removal,
  );

  async function save(values) {
    const body = { title: values.title, price: typedPrice(values.price) };
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
      fill(removal);
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

  function ask() {
    const yes = h(
      "button",
      { type: "button", class: "button button-danger", on: { click: takeOff } },
      texts.listing.takeOffYes,
    );
    const no = h(
      "button",
      {
        type: "button",
        class: "button",
        on: {
          click: () => {
            fill(removal);
            remove.focus();
          },
        },
      },
      texts.listing.takeOffNo,
    );
    fill(
      removal,
      h("p", {}, texts.listing.takeOffQuestion),
      h("div", { class: "form-actions" }, yes, no),
    );
    yes.focus();
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
    const shut = kind === "sold" || kind === "gone" || (kind === "locked" && isLive());
    for (const button of [editor.submit, remove])
      setAttribute(button, "aria-disabled", shut ? "true" : false);
    setText(state, stateWords(kind, ticket));
  }

  editor.element.addEventListener("input", () =>
    keepDraft(draftName, { title: title.input.value, price: price.input.value }),
  );
  remove.addEventListener("click", () => remove.getAttribute("aria-disabled") !== "true" && ask());
  return { element, show };
}

/** No countdown in here: this line is read aloud when it changes. */
function stateWords(kind, ticket) {
  switch (kind) {
    case "locked":
      return texts.listing.locked;
    case "sold":
      return texts.listing.sold(money(ticket.price, ticket.currency));
    case "gone":
      return texts.listing.gone;
    default:
      return texts.listing.forSale;
  }
}

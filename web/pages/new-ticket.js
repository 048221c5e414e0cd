// Create a Ticket: title and price. This tab keeps the typed values until the ticket is listed.

import { fill, h } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { once } from "../net/once.js";
import { announce } from "../parts/announcer.js";
import { form } from "../parts/form.js";
import { sellTabs } from "../parts/sell-tabs.js";
import { priceField, titleField } from "../parts/ticket-fields.js";
import { settings } from "../state/settings.js";
import { store } from "../state/store.js";
import { amount } from "../words/format.js";
import { screens, texts } from "../words/texts.js";

export const newTicket = { name: "new-ticket", title: screens.newTicket, needsUser: true, mount };

const DRAFT = "new-ticket";

function mount({ root, navigate, signal, ready }) {
  const draft = readDraft(DRAFT);
  const title = titleField({ value: draft.title, placeholder: texts.newTicket.titleExample });
  const price = priceField(
    undefined,
    { value: draft.price, placeholder: amount(19.99) },
    texts.form.priceHint(amount(0.5), amount(999_999.99)),
  );
  const made = form({
    fields: [title, price],
    button: texts.newTicket.button,
    busy: texts.newTicket.busy,
    send,
  });

  async function send(values) {
    const { data } = await once("POST", "/api/tickets", {
      title: values.title,
      price: price.read(),
    });
    dropDraft(DRAFT);
    store.putTickets([data]);
    announce(texts.newTicket.done);
    if (!signal.aborted) navigate(`/tickets/${data.id}`);
  }

  made.element.addEventListener("input", () =>
    keepDraft(DRAFT, { title: title.input.value, price: price.input.value }),
  );
  settings().then(
    ({ currency }) => price.setCurrency(currency),
    () => {},
  );
  fill(
    root,
    h(
      "div",
      { class: "narrow" },
      h("h1", { tabindex: "-1" }, screens.newTicket),
      sellTabs(),
      made.element,
    ),
  );
  ready();
}

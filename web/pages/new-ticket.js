// Create a Ticket. This tab keeps the typed values until the ticket is listed.

import { fill, h } from "../core/dom.js";
import { dropDraft, keepDraft, readDraft } from "../core/drafts.js";
import { once } from "../net/once.js";
import { announce } from "../parts/announcer.js";
import { form, textsByName } from "../parts/form.js";
import { sellTabs } from "../parts/sell-tabs.js";
import { requestBody, ticketFields } from "../parts/ticket-fields.js";
import { settings } from "../state/settings.js";
import { store } from "../state/store.js";
import { screens, texts } from "../words/texts.js";

export const newTicket = { name: "new-ticket", title: screens.newTicket, needsUser: true, mount };

const DRAFT = "new-ticket";

function mount({ root, navigate, signal, ready }) {
  const draft = readDraft(DRAFT);
  const fields = ticketFields();
  for (const { name, input } of fields) input.value = draft[name] ?? "";
  const made = form({
    fields,
    button: texts.newTicket.button,
    busy: texts.newTicket.busy,
    send,
  });

  async function send() {
    const { data } = await once("POST", "/api/tickets", requestBody(fields));
    dropDraft(DRAFT);
    store.putTickets([data]);
    announce(texts.newTicket.done);
    if (!signal.aborted) navigate(`/tickets/${data.id}`);
  }

  made.element.addEventListener("input", () => keepDraft(DRAFT, textsByName(fields)));
  settings().then(
    ({ currency }) => {
      for (const one of fields) one.setCurrency?.(currency);
    },
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

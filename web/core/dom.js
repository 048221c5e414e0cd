// Building elements. Text only ever becomes text nodes and attribute values: nothing in these pages parses markup, so a
// ticket's title that looks like markup stays what its seller typed.

/** Attributes of an element whose text a user typed: it may be in any language and direction. */
export const USER_TEXT = { dir: "auto", lang: "" };

/**
 * An element with attributes and children.
 * `class` and plain attributes are set as they are; `true` sets an empty attribute, `false`, `null` and `undefined` none;
 * `on` maps event names to listeners. Children may be nodes, strings, nested arrays, or nothing.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, any>} [attributes]
 * @param {...any} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") listen(element, value);
    else setAttribute(element, name, value);
  }
  element.append(...present(children));
  return element;
}

/** Sets, or with `false`, `null` or `undefined` removes, one attribute; leaves the page alone when nothing changes. */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) {
    element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Writes text only when it differs: a write of the same text would still wake a screen reader. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Replaces what is inside an element.
 * @template {Element} E
 * @param {E} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/**
 * An element of the shell (index.html) by its id.
 * @param {string} id
 */
export function shellElement(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/** The id of the list row that has the focus, as its attribute `data-id` says. */
export function focusedRowId() {
  return document.activeElement?.closest("[data-id]")?.getAttribute("data-id") ?? undefined;
}

/**
 * The link of the list row with an id.
 * @param {Element} within
 * @param {string} id
 * @returns {HTMLElement | null}
 */
export function rowLink(within, id) {
  return within.querySelector(`[data-id="${CSS.escape(id)}"] a[href]`);
}

function listen(element, listeners) {
  for (const [type, listener] of Object.entries(listeners))
    element.addEventListener(type, listener);
}

function present(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false);
}

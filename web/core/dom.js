// Functions that build elements. Texts become text nodes and attribute values only. The pages never parse markup, so a ticket
// title that contains markup is shown as its seller typed it.

/** Attributes for an element with text that a user typed. The text may be in any language and direction. */
export const USER_TEXT = { dir: "auto", lang: "" };

/**
 * Returns an element with attributes and children.
 *
 * Attributes are set as they are: `true` sets an empty attribute; `false`, `null` and `undefined` set none. The attribute `on`
 * maps event names to listeners. A child is a node, a string, a nested array, or an absent value.
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

/** Sets one attribute, or removes it for `false`, `null` and `undefined`. Writes nothing if the value is unchanged. */
export function setAttribute(element, name, value) {
  if (value === false || value === null || value === undefined) {
    element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Sets the text of an element if it differs. A write of the same text would make screen readers announce it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Replaces the children of an element.
 * @template {Element} E
 * @param {E} element
 * @param {...any} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

/**
 * Returns an element of the shell (index.html) by its id.
 * @param {string} id
 */
export function shellElement(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no element #${id}`);
  return element;
}

/** Returns the id of the list row that has the focus, from its attribute `data-id`. */
export function focusedRowId() {
  return document.activeElement?.closest("[data-id]")?.getAttribute("data-id") ?? undefined;
}

/**
 * Returns the link of the list row with this id.
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

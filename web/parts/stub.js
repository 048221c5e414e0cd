// The coloured tile at the left of a ticket: decoration that helps to tell tickets apart. It depends only on the title.

import { h } from "../core/dom.js";

const TINTS = 6;

/** Returns a tile with the title's first letter. It is hidden from screen readers, which read the title. */
export function stub({ title }) {
  const letter = Array.from(title.matchAll(/\p{L}|\p{N}/gu))[0]?.[0] ?? "#";
  return h(
    "span",
    { class: `stub tint-${tintOf(title)}`, "aria-hidden": "true" },
    letter.toLocaleUpperCase(),
  );
}

/** Returns the number of a colour, 0 to 5, by the title's first word, so that all tickets of a "Rock Concert" have the same colour. */
export function tintOf(title) {
  const word = title.split(/\s+/, 1)[0].toLowerCase();
  let sum = 7;
  for (const character of word) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return sum % TINTS;
}

/** A title with more UTF-16 units than this has a smaller size on the page of its ticket or order. */
const LONG_TITLE = 48;

export function isLong({ title }) {
  return title.length > LONG_TITLE;
}

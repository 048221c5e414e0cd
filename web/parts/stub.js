// The coloured stub at the left of a ticket: decoration that tells tickets apart at a glance, always the same for one title.

import { h } from "../core/dom.js";

const TINTS = 6;

/** A tile with the title's first letter; hidden from screen readers, which hear the title itself. */
export function stub({ title }) {
  const letter = Array.from(title.matchAll(/\p{L}|\p{N}/gu))[0]?.[0] ?? "#";
  return h(
    "span",
    { class: `stub tint-${tintOf(title)}`, "aria-hidden": "true" },
    letter.toLocaleUpperCase(),
  );
}

/** 0 to 5, from the title's first word: all the tickets of a "Rock Concert" look alike. */
export function tintOf(title) {
  const word = title.split(/\s+/, 1)[0].toLowerCase();
  let sum = 7;
  for (const character of word) sum = (sum * 31 + character.codePointAt(0)) % 9973;
  return sum % TINTS;
}

/** Characters from which a title has a smaller size on the page of its ticket or order. */
const LONG_TITLE = 48;

export function isLong({ title }) {
  return title.length > LONG_TITLE;
}

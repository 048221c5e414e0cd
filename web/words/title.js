// The length of a title, as the server counts it (crates/domain/src/text.rs): trimmed, in normalization form C, in Unicode scalar
// values. An emoji has one or several of them; a letter with an accent has one, for every way to type it.

export const TITLE_LENGTH_MAX = 200;

/** @param {string} title as it was typed */
export function titleLength(title) {
  const trimmed = title.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
  return Array.from(trimmed.normalize("NFC")).length;
}

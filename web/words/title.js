// How long a title is, as the server counts (src/domain/text.rs): trimmed, in normal form C, in Unicode scalar values. An emoji
// is one or several of them; a letter with an accent is one, however it was typed.

export const TITLE_LENGTH_MAX = 200;

/** @param {string} title as it was typed */
export function titleLength(title) {
  const trimmed = title.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, "");
  return Array.from(trimmed.normalize("NFC")).length;
}

// The reader's conventions, with English words. The pages are in English: a month, a relative time or a digit of another
// language would make one sentence of two languages.

/** @returns {string[]} the languages that the browser names, the preferred one first */
export function readerLanguages() {
  return [...(globalThis.navigator?.languages ?? []), "en-US"];
}

/**
 * English as it is written where the reader lives: "de" becomes "en-DE", with a 24-hour clock.
 * @param {string[]} languages
 */
export function englishOf(languages) {
  const [first] = languages;
  if (isEnglish(first)) return first;
  const { region } = new Intl.Locale(first).maximize();
  return region ? `en-${region}` : "en";
}

/**
 * English in which decimals have a point: that is how a page in English is read.
 * @param {string[]} languages
 */
export function englishForNumbers([first]) {
  return isEnglish(first) ? first : "en-US";
}

/** The reader's own way to write numbers, but with the digits 0 to 9. @param {string[]} languages */
export function numberLocale([first]) {
  return new Intl.Locale(first, { numberingSystem: "latn" }).toString();
}

function isEnglish(language) {
  return /^en\b/i.test(language);
}

// The reader's conventions, with English words. The pages are in English: a month, a relative time or a digit of another
// language would make one sentence of two languages.

/**
 * The languages that the reader prefers and that `Intl` knows, the first one first. There is always one.
 * @param {readonly string[]} named by the browser
 */
export function readerLanguages(named = globalThis.navigator?.languages ?? []) {
  return [...named.filter(isKnown), "en-US"];
}

/** Some browsers name languages that `Intl` refuses, such as "en-US@posix". */
function isKnown(language) {
  try {
    return Intl.NumberFormat.supportedLocalesOf(language).length > 0;
  } catch {
    return false;
  }
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

// The reader's regional conventions with English words. The pages are in English: a month, a relative time or a digit of another
// language would mix two languages in one sentence.

/**
 * Returns the preferred languages of the reader that `Intl` supports, most preferred first. The result is never empty.
 * @param {readonly string[]} named the languages of the browser
 */
export function readerLanguages(named = globalThis.navigator?.languages ?? []) {
  return [...named.filter(isKnown), "en-US"];
}

/** Whether `Intl` supports a language. Some browsers name languages that it rejects, such as "en-US@posix". */
function isKnown(language) {
  try {
    return Intl.NumberFormat.supportedLocalesOf(language).length > 0;
  } catch {
    return false;
  }
}

/**
 * Returns English as written in the reader's region: "de" becomes "en-DE", with a 24-hour clock.
 * @param {string[]} languages
 */
export function englishOf(languages) {
  const [first] = languages;
  if (isEnglish(first)) return first;
  const { region } = new Intl.Locale(first).maximize();
  return region ? `en-${region}` : "en";
}

/**
 * Returns a form of English with a decimal point, as readers of an English page expect.
 * @param {string[]} languages
 */
export function englishForNumbers([first]) {
  return isEnglish(first) ? first : "en-US";
}

/** Returns the reader's number format, but with the digits 0 to 9. @param {string[]} languages */
export function numberLocale([first]) {
  return new Intl.Locale(first, { numberingSystem: "latn" }).toString();
}

function isEnglish(language) {
  return /^en\b/i.test(language);
}

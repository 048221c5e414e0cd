// Parses prices as people type them, in any locale: "19,99", "1.234,56", "$20", "٢٠".

import { numberLocale, readerLanguages } from "./locale.js";

/** Group separators that are decimal separators in no locale: spaces, apostrophes and the Arabic thousands separator. */
const GROUPS = /[\s'’٬]/gu;
/** Invisible marks for the direction of text, which browsers and keyboards add to numbers. */
const DIRECTIONS = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
/** Groups of three digits, or in India groups of two before the last three. */
const GROUPED = /^(\d{1,3}(,\d{3})+|\d{1,2}(,\d{2})+,\d{3})$/;

/**
 * Parses a price. `value` is the amount in the form of the API, such as "1234.50". `problem` is `ambiguous` if the text has two
 * meanings, and `meanings` holds both in minor units; it is `invalid` if the text has no meaning.
 *
 * Two digits after the only separator are decimals in every locale. Three digits are thousands if the reader's locale groups
 * thousands with this separator; otherwise the text is ambiguous.
 * @param {string} text
 * @param {object} how
 * @param {string} how.currency the currency whose symbol or code may be in the text
 * @param {string[]} [how.languages] the reader's, the preferred one first
 * @returns {{ value: string } | { problem: "invalid" } | { problem: "ambiguous", meanings: [number, number] }}
 */
export function parsePrice(text, { currency, languages = readerLanguages() }) {
  const plain = withoutCurrency(asciiDigits(text.normalize("NFKC")), currency, languages)
    .replace(DIRECTIONS, "")
    .trim();
  const number = separated(plain);
  if (number === null) return { problem: "invalid" };
  const { whole, separator, rest } = number;
  if (separator === "" || rest.length <= 2) return { value: decimal(whole, rest) };
  if (separatesThousands(separator, numberLocale(languages), currency))
    return { value: whole + rest };
  return { problem: "ambiguous", meanings: [Number(whole + rest) * 100, rounded(whole, rest)] };
}

/**
 * Returns the digits before and after the separator that may be decimal, or null. Separators that are certainly for thousands
 * are removed. Three digits after the separator are accepted only if the text does not show what the separator means.
 */
function separated(text) {
  const unified = text.replaceAll("٫", "\u0000");
  const last = Math.max(...[",", ".", "\u0000"].map((mark) => unified.lastIndexOf(mark)));
  const separator = last < 0 ? "" : unified[last];
  const several = unified.split(separator).length > 2;
  if (separator === "" || (several && separator !== "\u0000")) return grouped(unified);
  const before = unified.slice(0, last);
  const rest = unified.slice(last + 1);
  const whole = grouped(before === "" ? "0" : before)?.whole;
  if (whole === undefined || !/^\d{1,3}$/.test(rest)) return null;
  const certain = separator === "\u0000" || before !== whole || !/^[1-9]\d{0,2}$/.test(whole);
  if (rest.length === 3 && certain) return null;
  return { whole, separator, rest };
}

/** Returns a whole number, with or without thousands separators of one kind. */
function grouped(text) {
  const unified = text.replace(GROUPS, "'");
  const marks = new Set(unified.replace(/\d/g, ""));
  if (marks.size > 1 || marks.has("\u0000")) return null;
  const [mark] = marks;
  const digits = mark === undefined ? unified : unified.replaceAll(mark, ",");
  if (mark === undefined ? !/^\d+$/.test(digits) : !GROUPED.test(digits)) return null;
  return { whole: digits.replaceAll(",", ""), separator: "", rest: "" };
}

/** Returns the amount in the notation of JSON: "0020" is 20, "7,5" is 7.5. */
function decimal(whole, rest) {
  const digits = whole.replace(/^0+(?=\d)/, "");
  return rest === "" ? digits : `${digits}.${rest}`;
}

function rounded(whole, rest) {
  return Math.round(Number(`${whole}.${rest}`) * 100);
}

/** Replaces every decimal digit of Unicode by 0 to 9. The ten digits of a script have consecutive code points. */
function asciiDigits(text) {
  return text.replace(/\p{Nd}/gu, (digit) => {
    const code = digit.codePointAt(0) ?? 0;
    let first = code;
    while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first -= 1;
    return String((code - first) % 10);
  });
}

/** Removes the currency's symbol or code from one end of the text. Another currency stays, so that the text is rejected. */
function withoutCurrency(text, currency, languages) {
  const plain = text.replace(DIRECTIONS, "").trim();
  const names = [languages[0], "en", "en-001"].flatMap((locale) =>
    /** @type {const} */ (["symbol", "narrowSymbol", "code"]).map((currencyDisplay) =>
      currencyName(locale, currency, currencyDisplay),
    ),
  );
  for (const name of new Set(names.sort((a, b) => b.length - a.length))) {
    const lower = plain.toLowerCase();
    if (lower.startsWith(name)) return plain.slice(name.length).trim();
    if (lower.endsWith(name)) return plain.slice(0, -name.length).trim();
  }
  return plain;
}

function currencyName(locale, currency, currencyDisplay) {
  const code = currency.toUpperCase();
  const format = new Intl.NumberFormat(locale, {
    style: "currency",
    currency: code,
    currencyDisplay,
  });
  const name = format.formatToParts(0).find(({ type }) => type === "currency")?.value ?? code;
  return name.normalize("NFKC").replace(DIRECTIONS, "").trim().toLowerCase();
}

/** Whether a locale groups thousands with a separator and does not use it for decimals. Some locales format money differently. */
function separatesThousands(separator, locale, currency) {
  const parts = [undefined, currency].flatMap((money) =>
    new Intl.NumberFormat(locale, { style: money && "currency", currency: money }).formatToParts(
      1_234_567.8,
    ),
  );
  const types = parts.filter(({ value }) => value === separator).map(({ type }) => type);
  return types.includes("group") && !types.includes("decimal");
}

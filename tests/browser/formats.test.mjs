// Parsing of prices, formats of prices and times, and the length of titles, without a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { formatsFor } from "../../web/words/format.js";
import { readerLanguages } from "../../web/words/locale.js";
import { parsePrice } from "../../web/words/price.js";
import { titleLength } from "../../web/words/title.js";

/** Locales that cover all kinds of separators, digits and positions of the currency. */
const LOCALES = [
  ...[
    "en-US",
    "en-GB",
    "en-IN",
    "en-ZA",
    "de",
    "de-CH",
    "de-AT",
    "fr",
    "fr-CH",
    "it",
    "es",
    "es-MX",
  ],
  ...[
    "pt-BR",
    "pt-PT",
    "nl",
    "sv",
    "nb",
    "fi",
    "da",
    "pl",
    "cs",
    "hu",
    "ru",
    "uk",
    "tr",
    "el",
    "he",
  ],
  ...["ar", "ar-EG", "ar-SA-u-nu-arab", "fa", "ur", "ckb", "hi", "hi-u-nu-deva", "bn", "mr", "ne"],
  ...["ta", "th-u-nu-thai", "my", "ja", "ko", "zh-CN", "zh-TW", "vi", "id", "ms", "sw", "am", "ka"],
];

function read(text, language = "en-US") {
  const price = parsePrice(text, { currency: "usd", languages: [language] });
  return price.value ?? price.problem;
}

test("price with one meaning is read in any locale", () => {
  for (const [text, value] of [
    ["20", "20"],
    [" 20 ", "20"],
    ["0020", "20"],
    ["19.99", "19.99"],
    ["19,99", "19.99"],
    ["7,5", "7.5"],
    [".50", "0.50"],
    ["999,999.99", "999999.99"],
    ["1.234,56", "1234.56"],
    ["1 234,56", "1234.56"],
    ["1\u202f234,56", "1234.56"],
    ["1'234.50", "1234.50"],
    ["1’234.50", "1234.50"],
    ["1,23,456.50", "123456.50"],
    ["1.234.567", "1234567"],
    ["$20", "20"],
    ["20 $", "20"],
    ["US$ 20", "20"],
    ["20 usd", "20"],
    ["٢٠", "20"],
    ["١٬٢٣٤٫٥٠", "1234.50"],
    ["۱۹٫۹۹", "19.99"],
    ["१९.९९", "19.99"],
    ["１９．９９", "19.99"],
    ["\u200f٢٠\u00a0US$", "20"],
    ["𝟙𝟚", "12"],
  ])
    for (const language of LOCALES)
      assert.equal(read(text, language), value, `${text}, ${language}`);
});

test("three digits after the only separator are thousands if the reader's locale groups so", () => {
  assert.equal(read("1,234", "en-US"), "1234");
  assert.equal(read("1.234", "de"), "1234");
  assert.equal(read("1.234", "pt-BR"), "1234");
  assert.equal(read("12.345", "nl"), "12345");
});

test("price with two meanings is rejected with both meanings", () => {
  for (const [text, language] of [
    ["1,234", "de"],
    ["1,234", "fr"],
    ["1,234", "de-CH"],
    ["1.234", "en-US"],
    ["1.234", "ja"],
    ["1.234", "sv"],
  ])
    assert.deepEqual(parsePrice(text, { currency: "usd", languages: [language] }), {
      problem: "ambiguous",
      meanings: [123_400, 123],
    });
});

test("text that is not a price is rejected", () => {
  for (const text of [
    ...["", " ", "-5", "1e3", "20.", "20,", "0x20", "NaN", "twenty", "20 or 30", "1/2", "+5", "½"],
    ...["20 €", "€20", "£5", "20 EUR", "$ $20", "$20$ $", "12 34", "1,234,56", "1.23.4", "1,,234"],
    ...["0.500", "1.234,567", "12,345.678", "1234.567", "1,234.5.6", "1,234'567.00", "٫", "."],
  ])
    for (const language of ["en-US", "de", "fr", "ar-EG"])
      assert.equal(read(text, language), "invalid", `${text}, ${language}`);
});

test("price formatted by a locale is parsed as the same amount in that locale", () => {
  let seed = 20;
  const random = () => {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return seed / 2 ** 31;
  };
  for (const language of LOCALES)
    for (let round = 0; round < 20; round += 1) {
      const minor = Math.floor(50 + 10 ** (2 + 6 * random()));
      const whole = Math.floor(minor / 100) + 1;
      for (const options of [{}, { style: "currency", currency: "USD" }]) {
        const exact = new Intl.NumberFormat(language, { ...options, minimumFractionDigits: 2 });
        const rounded = new Intl.NumberFormat(language, { ...options, maximumFractionDigits: 0 });
        const text = exact.format(minor / 100);
        assert.equal(Number(read(text, language)), minor / 100, `${text}, ${language}`);
        const short = rounded.format(whole);
        assert.equal(Number(read(short, language)), whole, `${short}, ${language}`);
      }
      const { amount, priceToType } = formatsFor([language]);
      for (const text of [amount(minor / 100), priceToType(minor / 100), priceToType(whole)])
        assert.equal(
          Number(read(text, language)),
          text === priceToType(whole) ? whole : minor / 100,
          `${text}, ${language}`,
        );
    }
});

test("prices and times are in English with the digits 0 to 9", () => {
  const now = Date.parse("2026-11-30T12:00:00Z");
  for (const language of LOCALES) {
    const { money, moment, ago } = formatsFor([language]);
    const texts = [
      money(1_234.5, "usd"),
      money(20, "usd"),
      moment("2026-11-30T09:05:00Z", now),
      moment("2026-03-01T09:05:00Z", now),
      moment("2024-03-01T09:05:00Z", now),
      ago("2026-11-30T12:00:00Z", now),
      ago("2026-11-30T11:57:00Z", now),
      ago("2026-11-29T11:57:00Z", now),
    ];
    for (const text of texts) assert.match(text, /^[\p{ASCII}\p{Zs}]*$/u, `${language}: ${text}`);
    assert.equal(texts[5], "just now", language);
  }
});

test("12-hour or 24-hour clock follows the reader's locale", () => {
  const at = (language) =>
    formatsFor([language]).moment("2026-11-30T15:05:00", Date.parse("2026-11-30T18:00:00"));
  assert.equal(at("de"), "15:05");
  assert.equal(at("fa"), "15:05");
  assert.match(at("en-US"), /^3:05\sPM$/);
  assert.match(at("ar"), /^3:05\s[AP]M$/i);
});

test("price has a decimal point and the currency symbol of the reader's English region", () => {
  assert.equal(formatsFor(["de"]).money(1_234.5, "usd"), "$1,234.50");
  assert.equal(formatsFor(["fa"]).money(20, "usd"), "$20");
  assert.equal(formatsFor(["en-GB"]).money(20, "usd"), "US$20");
});

test("language unknown to Intl is skipped", () => {
  assert.deepEqual(readerLanguages(["en-US@posix", "tlh", "de-AT"]), ["de-AT", "en-US"]);
  assert.deepEqual(readerLanguages([]), ["en-US"]);
});

test("date of another year includes the year", () => {
  const { moment } = formatsFor(["en-US"]);
  const now = Date.parse("2026-11-30T12:00:00");
  assert.equal(moment("2025-11-30T12:00:00", now), "Nov 30, 2025");
  assert.match(moment("2026-03-01T12:00:00", now), /^Mar 1, 12:00\sPM$/);
});

test("title length is the number of Unicode scalar values after trimming and normalization", () => {
  for (const [title, length] of [
    ["", 0],
    ["  Rock  ", 4],
    ["\u0085\u2003Rock\u3000", 4],
    ["\ufeffRock", 5],
    ["🎸".repeat(150), 150],
    ["e\u0301", 1],
    ["👩‍👩‍👧", 5],
    ["\u1100\u1161", 1],
  ])
    assert.equal(titleLength(title), length, JSON.stringify(title));
});

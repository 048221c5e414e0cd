// Prices and times in English, with the conventions of the reader's region.

import { now } from "../core/clock.js";
import { englishForNumbers, englishOf, numberLocale, readerLanguages } from "./locale.js";

const DAY_S = 24 * 3600;

/**
 * Returns the format functions for a reader.
 * @param {string[]} languages the preferred one first
 */
export function formatsFor(languages) {
  const english = englishOf(languages);
  const moneyFormats = new Map();
  /** @type {Intl.DateTimeFormatOptions} */
  const time = { hour: "numeric", minute: "2-digit", hourCycle: hourCycleOf(languages[0]) };
  const timeOfDay = new Intl.DateTimeFormat(english, time);
  const dayAndTime = new Intl.DateTimeFormat(english, { day: "numeric", month: "short", ...time });
  const date = new Intl.DateTimeFormat(english, {
    day: "numeric",
    month: "short",
    year: "numeric",
  });
  const relative = new Intl.RelativeTimeFormat(english, { numeric: "auto" });
  const typed = new Intl.NumberFormat(numberLocale(languages), {
    minimumFractionDigits: 2,
    useGrouping: false,
  });
  const grouped = new Intl.NumberFormat(numberLocale(languages), { minimumFractionDigits: 2 });

  /** Formats an amount in major units. Whole amounts have no decimals. */
  function money(amount, currency) {
    const whole = Number.isInteger(amount);
    const name = `${currency} ${whole}`;
    if (!moneyFormats.has(name)) {
      /** @type {Intl.NumberFormatOptions} */
      const options = { style: "currency", currency: currency.toUpperCase() };
      if (whole) options.maximumFractionDigits = 0;
      moneyFormats.set(name, new Intl.NumberFormat(englishForNumbers(languages), options));
    }
    return moneyFormats.get(name).format(amount);
  }

  /** Formats a time: today without the day; in another year the day without the time; otherwise day and time. */
  function moment(iso, nowMs = now()) {
    const then = new Date(iso);
    const today = new Date(nowMs);
    if (then.toDateString() === today.toDateString()) return timeOfDay.format(then);
    return (then.getFullYear() === today.getFullYear() ? dayAndTime : date).format(then);
  }

  /** Returns "3 minutes ago" or "just now", relative to `nowMs` (milliseconds since 1970). */
  function ago(iso, nowMs) {
    const seconds = Math.round((Date.parse(iso) - nowMs) / 1000);
    if (seconds > -60) return "just now";
    if (seconds > -3600) return relative.format(Math.round(seconds / 60), "minute");
    if (seconds > -DAY_S) return relative.format(Math.round(seconds / 3600), "hour");
    return relative.format(Math.round(seconds / DAY_S), "day");
  }

  /** Formats an amount without currency in the reader's number format. */
  const amount = (value) => grouped.format(value);

  /** Formats a price as the reader would type it. */
  const priceToType = (price) => (Number.isInteger(price) ? String(price) : typed.format(price));

  return { money, moment, ago, amount, priceToType };
}

export const { money, moment, ago, amount, priceToType } = formatsFor(readerLanguages());

/** Returns 9:05, or 1:00:00 from one hour on. */
export function countdown(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** Returns a duration for screen readers: "9 minutes 5 seconds". */
export function spoken(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = seconds % 60;
  const parts = [];
  if (minutes > 0) parts.push(unit(minutes, "minute"));
  if (rest > 0 || minutes === 0) parts.push(unit(rest, "second"));
  return parts.join(" ");
}

/** Returns whether a locale uses a 12-hour or 24-hour clock. */
function hourCycleOf(language) {
  return new Intl.DateTimeFormat(language, { hour: "numeric" }).resolvedOptions().hourCycle;
}

function unit(value, name) {
  return `${value} ${name}${value === 1 ? "" : "s"}`;
}

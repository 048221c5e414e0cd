// Prices and times in the reader's own locale.

const locale = globalThis.navigator && [...navigator.languages];
const moneyFormats = new Map();
const timeOfDay = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit" });
const dayAndTime = new Intl.DateTimeFormat(locale, {
  day: "numeric",
  month: "short",
  hour: "numeric",
  minute: "2-digit",
});
const relative = new Intl.RelativeTimeFormat(locale, { numeric: "auto" });

const DAY_S = 24 * 3600;

/** An amount in major units; whole amounts without the zeros. */
export function money(amount, currency) {
  const whole = Number.isInteger(amount);
  const name = `${currency} ${whole}`;
  if (!moneyFormats.has(name)) {
    /** @type {Intl.NumberFormatOptions} */
    const options = { style: "currency", currency: currency.toUpperCase() };
    if (whole) options.maximumFractionDigits = 0;
    moneyFormats.set(name, new Intl.NumberFormat(locale, options));
  }
  return moneyFormats.get(name).format(amount);
}

/** 9:05, or 1:00:00 from an hour on. */
export function countdown(seconds) {
  const two = (value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/** A length of time to be read aloud: "9 minutes 5 seconds". */
export function spoken(seconds) {
  const minutes = Math.floor(seconds / 60);
  const rest = seconds % 60;
  const parts = [];
  if (minutes > 0) parts.push(unit(minutes, "minute"));
  if (rest > 0 || minutes === 0) parts.push(unit(rest, "second"));
  return parts.join(" ");
}

/** The time of day, with the day when it is not today. */
export function moment(iso) {
  const date = new Date(iso);
  return date.toDateString() === new Date().toDateString()
    ? timeOfDay.format(date)
    : dayAndTime.format(date);
}

/** "3 minutes ago", against a given now (milliseconds). */
export function ago(iso, nowMs) {
  const seconds = Math.round((Date.parse(iso) - nowMs) / 1000);
  if (seconds > -60) return relative.format(0, "second");
  if (seconds > -3600) return relative.format(Math.round(seconds / 60), "minute");
  if (seconds > -DAY_S) return relative.format(Math.round(seconds / 3600), "hour");
  return relative.format(Math.round(seconds / DAY_S), "day");
}

/** What somebody typed as a price, for the interface: a decimal comma becomes a point, all else is the server's to judge. */
export function typedPrice(text) {
  const trimmed = text.trim();
  return /^\d{1,6},\d{1,2}$/.test(trimmed) ? trimmed.replace(",", ".") : trimmed;
}

/** A price as somebody would type it. */
export function priceToType(price) {
  return Number.isInteger(price) ? String(price) : price.toFixed(2);
}

function unit(value, name) {
  return `${value} ${name}${value === 1 ? "" : "s"}`;
}

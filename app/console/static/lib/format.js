// Numbers, shares and times as people read them, in the language of the screen.
import { language, t } from "./i18n.js";

const NONE = "–";

export function number(value, digits = 0) {
  if (value === null || value === undefined) return NONE;
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

export function share(value, digits = 1) {
  if (value === null || value === undefined) return NONE;
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(value);
}

export function signed(value, digits = 1) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  return new Intl.NumberFormat(language, {
    style: "percent",
    maximumFractionDigits: digits,
    signDisplay: "exceptZero",
  }).format(value);
}

export function time(value) {
  if (!value) return NONE;
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(value));
}

export function day(value) {
  if (!value) return NONE;
  return new Intl.DateTimeFormat(language, { dateStyle: "medium" }).format(new Date(value));
}

/** A length of time in words: "3 days", "45 s". */
export function duration(seconds) {
  const units = [
    [86400, "day"],
    [3600, "hour"],
    [60, "minute"],
    [1, "second"],
  ];
  const [size, unit] = units.find(([s]) => seconds >= s && seconds % s === 0) ?? units[3];
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit,
    unitDisplay: "long",
    maximumFractionDigits: 1,
  }).format(seconds / size);
}

/** A value of the catalogue or of a rule, shortened. */
export function value(given) {
  if (given === null || given === undefined) return t("none");
  return typeof given === "string" ? given : JSON.stringify(given);
}

/** The day (YYYY-MM-DD, UTC) that lies so many days after today. */
export const dayFromToday = (days) => new Date(Date.now() + days * 86400e3).toISOString().slice(0, 10);

// Numbers and times as people read them.

import { get } from "./store.js";
import { t } from "./i18n.js";

/** @param {number | null | undefined} value */
export function count(value) {
  return known(value) ? Math.round(value).toLocaleString(get().language) : t("none");
}

/** A number for a large figure: at most four digits. @param {number | null | undefined} value */
export function short(value) {
  if (!known(value)) return t("none");
  if (value < 9_999.5) return value.toLocaleString(get().language, { maximumFractionDigits: value < 10 ? 1 : 0 });
  const [scale, unit] = value < 999_500 ? [1_000, "k"] : [1_000_000, "M"];
  return `${(value / scale).toLocaleString(get().language, { maximumSignificantDigits: 3 })}${unit}`;
}

/** Seconds as `45 ms`, `3.2 s`, `2 min 5 s`, `3 h 2 min`. @param {number | null | undefined} seconds */
export function duration(seconds) {
  if (!known(seconds)) return t("none");
  if (seconds <= 0) return "0 s";
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  if (seconds < 59.5) return `${seconds.toFixed(0)} s`;
  const minutes = Math.floor((seconds + 0.5) / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor((seconds + 0.5) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Seconds by which a clock is ahead (`+3.2 s`) or behind. @param {number | null | undefined} seconds */
export function signed(seconds) {
  return known(seconds) ? `${seconds < 0 ? "−" : "+"}${duration(Math.abs(seconds))}` : t("none");
}

/** Time left of a deadline: no milliseconds, which would only flicker. @param {number} seconds */
export function left(seconds) {
  if (seconds <= 0) return t("flight.due");
  return seconds < 9.95 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

/** The time of day. @param {number | null | undefined} seconds Unix seconds */
export function clock(seconds) {
  if (!known(seconds)) return t("none");
  return new Date(seconds * 1000).toLocaleTimeString("sv-SE"); // hh:mm:ss everywhere
}

/** Day and time. @param {number | null | undefined} seconds Unix seconds */
export function moment(seconds) {
  return known(seconds) ? new Date(seconds * 1000).toLocaleString("sv-SE") : t("none");
}

const EARLIEST = 978_307_200; // Unix seconds of 2001: a smaller number at the end of an id is no time

/** The time that a batch id ends with, `10:00:00` or `11-04 10:00` of another day; "" when it ends otherwise. @param {string} id */
export function momentOfId(id) {
  const seconds = Number(id.match(/_([0-9]{9,11})$/)?.[1] ?? NaN);
  if (!(seconds >= EARLIEST)) return "";
  const [day, time] = moment(seconds).split(" ");
  const [today] = moment(Date.now() / 1000).split(" ");
  return day === today ? time : `${day.slice(-5)} ${time.slice(0, 5)}`;
}

/** @param {number} part @param {number} whole */
export function share(part, whole) {
  const digits = { maximumFractionDigits: part > 0 && part / whole < 0.0995 ? 1 : 0 };
  return whole > 0 ? (part / whole).toLocaleString(get().language, { style: "percent", ...digits }) : t("none");
}

/** @param {number | null | undefined} value @returns {value is number} */
function known(value) {
  return typeof value === "number" && Number.isFinite(value);
}

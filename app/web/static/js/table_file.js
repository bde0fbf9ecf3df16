// Tables as files. What stands in a table comes from outside: a spreadsheet must take none of it for a formula.

import { ApiError, request } from "./api.js";

/** @typedef {Record<string, any>} Row */

const MOST = 100_000; // rows of one file: as many batches as a worker remembers
const LIMIT = 1000; // rows of one answer, the API's bound
const TRIES = 5;
const MOMENT = /(?:_at|^at|^deadline|^timestamp)$/;
const BOM = "\ufeff"; // without it Excel reads Chinese in another encoding

/**
 * The rows of all pages of a list.
 * @param {string} path with its filters
 * @param {string} of the key of an answer's rows
 * @param {(count: number) => boolean} onPage told how many there are; false: nobody wants them any more
 * @returns {Promise<{rows: Row[], cut: boolean, incomplete: string[]}>}
 * @throws {ApiError}
 */
export async function allRows(path, of, onPage) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {Set<string>} */
  const incomplete = new Set();
  /** @type {string | null} */
  let cursor = "";
  let wanted = true;
  while (wanted && cursor !== null && rows.length < MOST) {
    const answer = await patiently(`${path}${path.includes("?") ? "&" : "?"}limit=${LIMIT}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    for (const row of answer[of]) rows.push(row);
    for (const url of answer.incomplete ?? []) incomplete.add(url);
    cursor = answer.next ?? null;
    wanted = onPage(rows.length);
  }
  return { rows, cut: cursor !== null, incomplete: [...incomplete] };
}

/** An answer, also when the worker asks to come again in a moment. @param {string} path */
async function patiently(path) {
  for (let tried = 1; ; tried += 1) {
    try {
      return JSON.parse(await request(path));
    } catch (error) {
      const soon = error instanceof ApiError && (error.status === 429 || error.status === 503);
      if (!soon || tried === TRIES) throw error;
      const seconds = Math.max(error.retryAfter, tried);
      await new Promise((done) => setTimeout(done, seconds * 1000));
    }
  }
}

/**
 * Let the browser save a file.
 * @param {string} name @param {"csv" | "json"} form @param {Row[]} rows
 */
export function saveRows(name, form, rows) {
  const text = form === "csv" ? csv(rows) : `${JSON.stringify(rows, null, 1)}\n`;
  const type = form === "csv" ? "text/csv;charset=utf-8" : "application/json";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = `${name}-${moment(Date.now() / 1000).slice(0, 19).replace(/[-:]/g, "").replace(" ", "-")}.${form}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Rows as RFC 4180 has them; the columns are the API's keys. @param {Row[]} rows */
export function csv(rows) {
  const keys = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const lines = [keys.map(quoted), ...rows.map((row) => keys.map((key) => cell(key, row[key])))];
  return BOM + lines.map((line) => `${line.join(",")}\r\n`).join("");
}

/** @param {string} key @param {any} value */
function cell(key, value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return MOMENT.test(key) ? quoted(moment(value)) : String(value);
  if (typeof value === "boolean") return String(value);
  return quoted(typeof value === "string" ? value : JSON.stringify(value));
}

/**
 * Text that a spreadsheet would take for a formula, or for a number of more digits than it keeps, has an apostrophe
 * before it. Separators of other countries' spreadsheets stand within quotes, too.
 * @param {string} text
 */
function quoted(text) {
  const marked = /^[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠|%]|^[\t\r\n]|^\s*\d{12,}\s*$/u.test(text) ? `'${text}` : text;
  return `"${marked.replaceAll('"', '""')}"`;
}

/** `YYYY-MM-DD HH:MM:SS.mmm` in the reader's time zone, as the page shows times. @param {number} seconds Unix seconds */
function moment(seconds) {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : `${date.toLocaleString("sv-SE")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

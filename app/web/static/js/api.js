// Requests to the worker that serves this page, and the token that they carry.

import { observe } from "./clock.js";

const TOKEN = "dashboard.token";
const PATIENCE = 10_000; // milliseconds; a worker itself waits 2 s for the others

/** An answer that is no 2xx, or none at all (`status` 0). */
export class ApiError extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   * @param {number} retryAfter seconds that the worker asks to wait; 0: it does not say
   */
  constructor(status, code, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

/** The token of this tab, or null. Kept in memory too, for browsers that forbid storage. @type {string | null} */
let token = stored();
if (globalThis.givenToken) setToken(globalThis.givenToken);
delete globalThis.givenToken;

function stored() {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

export function hasToken() {
  return token !== null;
}

/** @param {string | null} value */
export function setToken(value) {
  token = value;
  try {
    if (value === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, value);
  } catch {
    // Storage is forbidden: the token lives as long as the page.
  }
}

/**
 * Ask the worker.
 * @param {string} path relative, so that the page may live under a proxy's prefix
 * @param {{method?: string, body?: unknown, operator?: string}} [options] `operator`: who asks, by a name of his own
 * @returns {Promise<string>} the answer's text
 * @throws {ApiError}
 */
export async function request(path, { method = "GET", body, operator } = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (token !== null) headers.Authorization = `Bearer ${token}`;
  if (operator) headers["X-Operator"] = encodeURIComponent(operator); // a header has no Chinese
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const sentAt = Date.now();
  let answer, text;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    observe(answer.headers.get("Date"), sentAt, Date.now());
    text = await answer.text();
  } catch (error) {
    throw new ApiError(0, "no-answer", String(error));
  }
  if (!answer.ok) throw refusal(answer, text);
  return text;
}

/**
 * @param {Response} answer
 * @param {string} text
 */
function refusal(answer, text) {
  const retryAfter = Number(answer.headers.get("Retry-After")) || 0;
  try {
    const { code, message } = JSON.parse(text).error;
    return new ApiError(answer.status, String(code), String(message), retryAfter);
  } catch {
    return new ApiError(answer.status, String(answer.status), answer.statusText || `HTTP ${answer.status}`, retryAfter);
  }
}

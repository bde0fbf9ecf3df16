// What the page knows: one object that is replaced, never changed, and those who want to know when it is.

import { useEffect, useState } from "./html.js";

/** @typedef {"misses" | "slowness"} Order of the stations */
/** @typedef {{kind: "complete" | "discard" | "extend", batch: import("./types.js").BatchRow}} Asked */

/**
 * @typedef {object} State
 * @property {string} language
 * @property {string} theme "auto", "light" or "dark"
 * @property {string} view the page that is shown: "overview", "batch", "dead-letters", "late", "workers", "partitions"
 * @property {string} query the filters in the page's address
 * @property {string} batchId the batch whose page is shown; "" for another page
 * @property {Record<string, any>} data answers by resource
 * @property {Record<string, import("./api.js").ApiError | null>} errors of resources whose last request failed
 * @property {number} openLimit rows of batches in flight that are asked for
 * @property {number} closedLimit rows of recent batches
 * @property {Order} order
 * @property {string} range of time that figures, plots and stations are of: "15m" or "1h"
 * @property {number} updatedAt when something last came, in milliseconds of this device; 0: nothing yet
 * @property {boolean} lost whether the worker does not answer
 * @property {boolean} tokenWanted whether the worker asks for a token
 * @property {boolean} tokenRefused whether it refused one
 * @property {boolean} forbidden whether it said that it takes no actions
 * @property {Asked | null} asked the action that waits for a confirmation
 * @property {string[] | null} resending dead letters that are to be sent again, and wait for a confirmation
 * @property {string} notice what became of the last action
 */

/** @type {State} */
let state = {
  language: "en",
  theme: "auto",
  view: "overview",
  query: "",
  batchId: "",
  data: {},
  errors: {},
  openLimit: 20,
  closedLimit: 12,
  order: "misses",
  range: "1h",
  updatedAt: 0,
  lost: false,
  tokenWanted: false,
  tokenRefused: false,
  forbidden: false,
  asked: null,
  resending: null,
  notice: "",
};

/** @type {Set<() => void>} */
const listeners = new Set();

export function get() {
  return state;
}

/** @param {Partial<State>} change */
export function set(change) {
  state = { ...state, ...change };
  for (const listener of listeners) listener();
}

/** The state, in a component that is rendered again when it changes. */
export function useStore() {
  const [, turn] = useState(0);
  const rendered = state;
  useEffect(() => {
    const listener = () => turn((/** @type {number} */ count) => count + 1);
    listeners.add(listener);
    if (state !== rendered) listener(); // effects run after the first painting: an answer may have been quicker
    return () => listeners.delete(listener);
  }, []);
  return state;
}

// What a reader has chosen on a page stands in its address, so that whoever gets that sees the same.

import { asked } from "./places.js";

/** @param {string} query the filters in the page's address @param {string} name @param {string} usual */
export function chosen(query, name, usual) {
  return new URLSearchParams(query).get(name) ?? usual;
}

export const RANGES = ["15m", "1h"]; // of time that figures, charts and stations may be of
export const USUAL_RANGE = "1h";

/** The range of time that a reader has chosen. @param {string} query the page's filters @returns {string} */
export function rangeOf(query) {
  const wanted = chosen(query, "range", USUAL_RANGE);
  return RANGES.includes(wanted) ? wanted : USUAL_RANGE;
}

/**
 * Put a choice into the address, in the place of the one before: no step back for each letter that is typed.
 * @param {string} name @param {string} value "" for what is usual
 */
export function choose(name, value) {
  const [place, query = ""] = (location.hash || "#/").split(/\?([^]*)/);
  history.replaceState(history.state, "", `${place}${asked({ ...Object.fromEntries(new URLSearchParams(query)), [name]: value })}`);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

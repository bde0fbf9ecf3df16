// What a reader has chosen on a page stands in its address, so that whoever gets that sees the same.

import { asked } from "./places.js";

/** @param {string} query the filters in the page's address @param {string} name @param {string} usual */
export function chosen(query, name, usual) {
  return new URLSearchParams(query).get(name) ?? usual;
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

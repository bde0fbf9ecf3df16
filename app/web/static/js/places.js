// Addresses: of the page's views, and of what they ask the API for. Ids come from outside and may hold anything.

/** @typedef {{view: string, batchId: string, stationId: string, query: string}} Place */

const VIEWS = ["batches", "dead-letters", "late", "workers", "partitions"]; // pages without an id

/** An id as a part of an address; halves of characters, which no address can hold, are replaced. @param {string} id */
function segment(id) {
  return encodeURIComponent(id.toWellFormed());
}

/** Filters as the end of an address. @param {Record<string, string | number>} filters @returns {string} with its question mark; "" for none */
export function asked(filters) {
  const parts = Object.entries(filters).filter(([, value]) => value !== "");
  return parts.length > 0 ? `?${parts.map(([name, value]) => `${name}=${segment(String(value))}`).join("&")}` : "";
}

/** The address of a batch's page. @param {string} id */
export function pageOf(id) {
  return `#/batches/${segment(id)}`;
}

/** The address of a station's page. @param {string} id @param {Record<string, string | number>} [filters] */
export function stationPage(id, filters = {}) {
  return `#/stations/${segment(id)}${asked(filters)}`;
}

/** The address of a list. @param {string} view @param {Record<string, string | number>} [filters] */
export function listPage(view, filters = {}) {
  return `#/${view}${asked(filters)}`;
}

/** Where the API has a batch. @param {string} id */
export function batchPath(id) {
  return `batches/${segment(id)}`;
}

/** Where the API has a station. @param {string} id @param {Record<string, string | number>} [filters] */
export function stationPath(id, filters = {}) {
  // A browser takes a path's last part away when it is a dot or two, however it is written; no route takes a line break.
  return /^\.{1,2}$|\n/.test(id) ? `stations/${asked({ station: id, ...filters })}` : `stations/${segment(id)}${asked(filters)}`;
}

/** What an address names. @param {string} hash @returns {Place} */
export function placeOf(hash) {
  const nothing = { batchId: "", stationId: "", query: "" };
  const [, kind, id = "", filters = ""] = hash.match(/^#\/(batches|stations)\/([^?]+)(?:\?([^]*))?$/) ?? [];
  if (kind === "batches") return { ...nothing, view: "batch", batchId: decoded(id), query: filters };
  if (kind === "stations") return { ...nothing, view: "station", stationId: decoded(id), query: filters };
  const [, view = "", query = ""] = hash.match(/^#\/([a-z-]*)(?:\?([^]*))?$/) ?? [];
  return VIEWS.includes(view) ? { ...nothing, view, query } : { ...nothing, view: "overview", query: view ? "" : query };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // somebody has written it by hand
  }
}

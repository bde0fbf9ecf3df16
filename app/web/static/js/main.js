// Starts the page: what is asked for and how often, which view the address names.

import { setToken } from "./api.js";
import { App } from "./app.js";
import { html, render } from "./html.js";
import { startLanguage } from "./i18n.js";
import { hurry, poll, resume } from "./poll.js";
import { get, set } from "./store.js";
import { startTheme } from "./theme.js";

/** @typedef {import("./store.js").State} State */

const VIEWS = ["dead-letters", "late", "workers", "partitions"]; // pages beside the overview and those of batches
const MANY = 2000; // stations of a batch that is asked for less often

/** @param {string} path @returns {(state: State) => string | null} */
const onOverview = (path) => (state) => (state.view === "overview" ? path : null);
/** @param {string} view @param {(state: State) => string} path @returns {(state: State) => string | null} */
const on = (view, path) => (state) => (state.view === view ? path(state) : null);
/** The filters of the address, which are the API's, and how many rows. @param {string} path */
const filtered = (path) => (/** @type {State} */ { query }) => `${path}?${query ? `${query}&` : ""}limit=100`;
const every = (/** @type {number} */ seconds) => () => seconds * 1000;

/** @type {import("./poll.js").Resource[]} */
const RESOURCES = [
  { name: "cluster", path: () => "cluster", every: every(5) },
  { name: "stats", path: on("overview", (state) => `stats?since=${state.range}`) },
  { name: "open", path: on("overview", (state) => `batches?status=open&limit=${state.openLimit}`) },
  { name: "closed", path: on("overview", (state) => `batches?status=closed&limit=${state.closedLimit}`) },
  { name: "stations", path: on("overview", (state) => `stations?limit=1000&order=${state.order}&since=${state.range}`), every: every(10) },
  { name: "heatmap", path: onOverview("heatmap?batches=30&stations=100"), every: every(5) },
  { name: "history", path: onOverview("history"), every: every(10) },
  { name: "sources", path: onOverview("sources"), every: every(5) },
  { name: "letters", path: on("dead-letters", filtered("dead-letters")), every: every(10) },
  { name: "late", path: on("late", filtered("late")), every: every(10) },
  { name: "settings", path: on("workers", () => "settings"), every: every(30) },
  { name: "partitions", path: on("partitions", () => "partitions"), every: every(3) },
  {
    name: "batch",
    path: (state) => (state.batchId ? `batches/${encodeURIComponent(state.batchId)}` : null),
    every: (batch) => (batch.status !== "open" ? 10_000 : batch.expected_count > MANY ? 3000 : 1000),
  },
];

/** The batch that the address names, or "". */
function addressed() {
  const [, id] = location.hash.match(/^#\/batches\/(.+)$/) ?? [];
  try {
    return decodeURIComponent(id ?? "");
  } catch {
    return id;
  }
}

/** The page that the address names, and what is behind its question mark. */
function place() {
  const [, view = "", query = ""] = location.hash.match(/^#\/([a-z-]+)(?:\?(.*))?$/) ?? [];
  return VIEWS.includes(view) ? { view, query } : { view: "overview", query: "" };
}

function follow() {
  const token = globalThis.takeToken();
  if (token !== null) {
    setToken(token);
    resume();
  }
  const batchId = addressed();
  const { view, query } = batchId ? { view: "batch", query: "" } : place();
  const before = get();
  if (batchId === before.batchId && view === before.view && query === before.query) return;
  const { data, errors } = before;
  const gone = { batch: undefined, letters: undefined, late: undefined };
  set({ batchId, view, query, data: { ...data, ...gone }, errors: { ...errors, batch: null, letters: null, late: null } });
  if (view !== before.view || batchId !== before.batchId) window.scrollTo(0, 0);
  hurry();
}

startLanguage();
startTheme();
follow();
window.addEventListener("hashchange", follow);
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
poll(RESOURCES);

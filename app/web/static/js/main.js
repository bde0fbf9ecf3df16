// Starts the page: what is asked for and how often, which view the address names.

import { setToken } from "./api.js";
import { App } from "./app.js";
import { chosen, rangeOf } from "./choices.js";
import { html, render } from "./html.js";
import { startLanguage } from "./i18n.js";
import { asked, batchPath, placeOf, stationPath } from "./places.js";
import { hurry, poll, resume } from "./poll.js";
import { outcomesAsked, readStation } from "./station_answer.js";
import { get, set } from "./store.js";
import { startTheme } from "./theme.js";

/** @typedef {import("./store.js").State} State */

const MANY = 2000; // stations of a batch that is asked for less often

/** @param {string} path @returns {(state: State) => string | null} */
const onOverview = (path) => (state) => (state.view === "overview" ? path : null);
/** @param {string} view @param {(state: State) => string} path @returns {(state: State) => string | null} */
const on = (view, path) => (state) => (state.view === view ? path(state) : null);
/** The filters of the address, which are the API's, and how many rows. @param {string} path */
const filtered = (path) => (/** @type {State} */ { query }) => `${path}?${query ? `${query}&` : ""}limit=100`;
const every = (/** @type {number} */ seconds) => () => seconds * 1000;
const seen = (/** @type {number} */ seconds) => () => (get().view === "overview" ? 1000 : seconds * 1000);
/** Who expected a station stands in the stored batches: not to be looked up too often. */
const found = () => (new URLSearchParams(get().query).has("station") ? 30_000 : 5000);

const orderOf = (/** @type {State} */ { query }) => (chosen(query, "order", "misses") === "slowness" ? "slowness" : "misses");

/** @type {import("./poll.js").Resource[]} */
const RESOURCES = [
  { name: "cluster", path: () => "cluster", every: every(5) },
  { name: "stats", path: (state) => `stats?since=${rangeOf(state.query)}`, every: seen(10) },
  { name: "open", path: on("overview", (state) => `batches?status=open&limit=${state.openLimit}`) },
  { name: "closed", path: on("overview", (state) => `batches?status=closed&limit=${state.closedLimit}`) },
  { name: "stations", path: on("overview", (state) => `stations?limit=1000&order=${orderOf(state)}&since=${rangeOf(state.query)}`), every: every(10) },
  { name: "heatmap", path: onOverview("heatmap?batches=30&stations=100"), every: every(5) },
  { name: "history", path: onOverview("history"), every: every(10) },
  { name: "operated", path: onOverview("batches?completed_by=operator&since=1h&limit=100"), every: every(10) },
  { name: "sources", path: onOverview("sources"), every: every(5) },
  { name: "found", path: on("batches", filtered("batches")), every: found },
  {
    name: "station",
    path: on("station", ({ stationId, query }) => stationPath(stationId, { batches: outcomesAsked(query) })),
    every: every(10),
    read: readStation,
  },
  {
    name: "stationLetters",
    path: on("station", ({ stationId }) => `dead-letters${asked({ station: stationId, limit: 10 })}`),
    every: every(60),
  },
  { name: "letters", path: on("dead-letters", filtered("dead-letters")), every: every(10) },
  { name: "late", path: on("late", filtered("late")), every: every(10) },
  { name: "settings", path: on("workers", () => "settings"), every: every(30) },
  { name: "partitions", path: on("partitions", () => "partitions"), every: every(3) },
  {
    name: "batch",
    path: (state) => (state.batchId ? batchPath(state.batchId) : null),
    every: (batch) => (batch.status !== "open" ? 10_000 : batch.expected_count > MANY ? 3000 : 1000),
  },
];

/** Resources that are of one page or one set of filters. */
const OF_A_PLACE = ["batch", "found", "late", "letters", "station", "stationLetters"];

/** Views whose answers depend on the filters. */
const FILTERED = ["batches", "dead-letters", "late", "station"];

function follow() {
  const token = globalThis.takeToken();
  if (token !== null) {
    setToken(token);
    resume();
  }
  const place = placeOf(get().wall ? "" : location.hash);
  const before = get();
  const { batchId, stationId, view, query } = before;
  const isThere = place.view === view && place.batchId === batchId && place.stationId === stationId;
  if (isThere && place.query === query) return;
  const [data, errors] = [{ ...before.data }, { ...before.errors }];
  for (const name of isThere && !FILTERED.includes(view) ? [] : OF_A_PLACE) {
    delete data[name];
    errors[name] = null;
  }
  set({ ...place, data, errors });
  if (!isThere) window.scrollTo(0, 0);
  hurry();
}

set({ wall: "wall" in document.documentElement.dataset });
await startLanguage();
startTheme();
follow();
window.addEventListener("hashchange", follow);
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
poll(RESOURCES);

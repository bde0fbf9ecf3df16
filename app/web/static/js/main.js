// Starts the page: what is asked for and how often, which view the address names.

import { App } from "./app.js";
import { html, render } from "./html.js";
import { startLanguage } from "./i18n.js";
import { hurry, poll } from "./poll.js";
import { get, set } from "./store.js";
import { startTheme } from "./theme.js";

/** @typedef {import("./store.js").State} State */

const MANY = 2000; // stations of a batch that is asked for less often

/** @param {string} path @returns {(state: State) => string | null} */
const onOverview = (path) => (state) => (state.batchId ? null : path);
const every = (/** @type {number} */ seconds) => () => seconds * 1000;

/** @type {import("./poll.js").Resource[]} */
const RESOURCES = [
  { name: "cluster", path: () => "cluster", every: every(5) },
  { name: "stats", path: onOverview("stats") },
  { name: "open", path: (state) => (state.batchId ? null : `batches?status=open&limit=${state.openLimit}`) },
  { name: "closed", path: (state) => (state.batchId ? null : `batches?status=closed&limit=${state.closedLimit}`) },
  { name: "stations", path: (state) => (state.batchId ? null : `stations?limit=1000&order=${state.order}`), every: every(10) },
  { name: "heatmap", path: onOverview("heatmap?batches=30&stations=100"), every: every(5) },
  { name: "history", path: onOverview("history"), every: every(10) },
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

function follow() {
  const batchId = addressed();
  if (batchId === get().batchId) return;
  const { data, errors } = get();
  set({ batchId, data: { ...data, batch: undefined }, errors: { ...errors, batch: null } });
  window.scrollTo(0, 0);
  hurry();
}

startLanguage();
startTheme();
follow();
window.addEventListener("hashchange", follow);
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
poll(RESOURCES);

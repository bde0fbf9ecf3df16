// The whole page: the overview, one of the pages that its head leads to, or what is on a wall.

import { ActionDialog, Notice, whyNot } from "./actions.js";
import { rangeOf } from "./choices.js";
import { Figures } from "./figures.js";
import { Flight } from "./flight.js";
import { Alerts, Header } from "./header.js";
import { HeatmapPanel } from "./heatmap.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { t } from "./i18n.js";
import { watch } from "./marks.js";
import { Plots } from "./plots.js";
import { Recent } from "./recent.js";
import { Stations } from "./stations.js";
import { useStore } from "./store.js";
import { useTab } from "./tab.js";
import { TokenDialog } from "./token.js";

/** @typedef {(props: any) => any} View */

/** The views that are not the first are loaded when they are wanted. @type {Record<string, () => Promise<View>>} */
const LATER = {
  batch: async () => (await import("./batch.js")).BatchPage,
  batches: async () => (await import("./search.js")).SearchPage,
  station: async () => (await import("./station.js")).StationPage,
  "dead-letters": async () => (await import("./letters.js")).LettersPage,
  late: async () => (await import("./late.js")).LatePage,
  workers: async () => (await import("./workers.js")).WorkersPage,
  partitions: async () => (await import("./partitions.js")).PartitionsPage,
  wall: async () => (await import("./wall.js")).Wall,
};

/** @type {Record<string, View>} */
const loaded = { overview: Overview };

/** A view, Loading until it is there. @param {string} name @param {boolean} lost @returns {View} */
function useView(name, lost) {
  const [failed, fail] = useState(""); // the view that could not be loaded
  const [, turn] = useState(0);
  useEffect(() => {
    if (loaded[name] || lost) return;
    LATER[name]().then(
      (view) => {
        loaded[name] = view;
        turn((/** @type {number} */ count) => count + 1);
      },
      () => fail(name),
    );
  }, [name, lost]);
  return loaded[name] ?? (failed === name ? NotLoaded : Loading);
}

export function App() {
  const state = useStore();
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const first = useRef(true);
  const View = useView(state.wall ? "wall" : state.view, state.lost);
  useTab(state);
  watch(state.data.cluster);
  useEffect(() => {
    if (!first.current) (main.current?.querySelector("h2[tabindex]") ?? main.current)?.focus();
    first.current = first.current && View === Loading;
  }, [state.batchId, state.stationId, state.view, View]);
  if (state.wall) return html`<${View} state=${state} /><${TokenDialog} state=${state} />`;
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), main.current?.focus())}>${t("skip")}</a>
    <${Header} state=${state} />
    <${Alerts} state=${state} />
    <main id="main" tabindex="-1" ref=${main}>
      <${View} state=${state} />
    </main>
    <${Notice} state=${state} />
    <${ActionDialog} state=${state} />
    <${TokenDialog} state=${state} />
  `;
}

function Loading() {
  return html`<p class="quiet">${t("loading")}</p>`;
}

/** The worker was away just then, or has another version now. */
function NotLoaded() {
  return html`<p class="error" role="alert">
    ${t("view.failed")} <button type="button" onClick=${() => location.reload()}>${t("retry")}</button>
  </p>`;
}

/** @param {{state: import("./store.js").State}} props */
function Overview({ state }) {
  const { data, errors, language, theme } = state;
  const range = rangeOf(state.query);
  if (state.tokenWanted && !data.stats) return html`<p class="locked quiet">${t("token.needed")}</p>`;
  if (!data.open && !errors.open) return html`<${Loading} />`; // all answers come at once: no panel is to push another
  return html`
    <${Figures} stats=${data.stats} sources=${data.sources} range=${range} error=${errors.stats} language=${language} />
    <div class="board">
      <div class="column">
        <${Flight} state=${state} />
        ${whyNot(state) && html`<p class="quiet why-not">${whyNot(state)}</p>`}
        <${Recent} closed=${data.closed} error=${errors.closed} limit=${state.closedLimit} language=${language} />
      </div>
      <div class="column">
        <${Plots} history=${data.history} cluster=${data.cluster} operated=${data.operated} range=${range} error=${errors.history} language=${language} theme=${theme} />
        <${Stations} list=${data.stations} error=${errors.stations} query=${state.query} language=${language} />
      </div>
      <${HeatmapPanel} heatmap=${data.heatmap} error=${errors.heatmap} language=${language} />
    </div>
  `;
}

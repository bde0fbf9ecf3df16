// The whole page: the overview, one batch, or one of the pages that its head leads to.

import { ActionDialog, Notice, whyNot } from "./actions.js";
import { BatchPage } from "./batch.js";
import { Figures } from "./figures.js";
import { Flight } from "./flight.js";
import { Alerts, Header } from "./header.js";
import { HeatmapPanel } from "./heatmap.js";
import { html, useEffect, useRef } from "./html.js";
import { t } from "./i18n.js";
import { LatePage } from "./late.js";
import { LettersPage, ReplayDialog } from "./letters.js";
import { PartitionsPage } from "./partitions.js";
import { Plots } from "./plots.js";
import { Recent } from "./recent.js";
import { Stations } from "./stations.js";
import { useStore } from "./store.js";
import { TokenDialog } from "./token.js";
import { WorkersPage } from "./workers.js";

/** @type {Record<string, (props: any) => any>} */
const VIEWS = {
  overview: Overview,
  batch: BatchPage,
  "dead-letters": LettersPage,
  late: LatePage,
  workers: WorkersPage,
  partitions: PartitionsPage,
};

export function App() {
  const state = useStore();
  const main = useRef(/** @type {HTMLElement | null} */ (null));
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) (main.current?.querySelector("h2[tabindex]") ?? main.current)?.focus();
    first.current = false;
  }, [state.batchId, state.view]);
  return html`
    <a class="skip" href="#main" onClick=${(/** @type {Event} */ event) => (event.preventDefault(), main.current?.focus())}>${t("skip")}</a>
    <${Header} state=${state} />
    <${Alerts} state=${state} />
    <main id="main" tabindex="-1" ref=${main}>
      <${VIEWS[state.view]} state=${state} />
    </main>
    <${Notice} state=${state} />
    <${ActionDialog} state=${state} />
    <${ReplayDialog} state=${state} />
    <${TokenDialog} state=${state} />
  `;
}

/** @param {{state: import("./store.js").State}} props */
function Overview({ state }) {
  const { data, errors, language, theme } = state;
  if (state.tokenWanted && !data.stats) return html`<p class="locked quiet">${t("token.needed")}</p>`;
  return html`
    <${Figures} stats=${data.stats} sources=${data.sources} range=${state.range} error=${errors.stats} language=${language} />
    <div class="board">
      <div class="column">
        <${Flight} state=${state} />
        ${whyNot(state) && html`<p class="quiet why-not">${whyNot(state)}</p>`}
        <${Recent} closed=${data.closed} error=${errors.closed} limit=${state.closedLimit} language=${language} />
      </div>
      <div class="column">
        <${Plots} history=${data.history} range=${state.range} error=${errors.history} language=${language} theme=${theme} />
        <${Stations} list=${data.stations} error=${errors.stations} order=${state.order} range=${state.range} language=${language} />
      </div>
      <${HeatmapPanel} heatmap=${data.heatmap} error=${errors.heatmap} language=${language} />
    </div>
  `;
}

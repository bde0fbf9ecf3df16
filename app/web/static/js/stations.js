// Which stations are missing most, and which are slow.

import { choose, chosen, rangeOf } from "./choices.js";
import { Export } from "./export.js";
import { count, duration } from "./format.js";
import { html, memo, useState } from "./html.js";
import { t } from "./i18n.js";
import { Absent, Choice, More, StationId, Tally } from "./parts.js";

/** @typedef {import("./types.js").Station} Station */

const FIRST = 10;
const STEP = 50;

/** @param {{list?: import("./types.js").StationList, error: any, query: string, language: string}} props */
function StationRanks({ list, error, query }) {
  const order = chosen(query, "order", "misses");
  const range = rangeOf(query);
  const [shown, setShown] = useState(FIRST);
  const choices = ["misses", "slowness"].map((value) => ({ value, text: t(`stations.${value}`) }));
  return html`<section class="panel stations">
    <div class="title">
      <h2 id="stations">${t("stations.heading")}</h2>
      <${Choice} label=${t("stations.order")} choices=${choices} value=${order} onChoose=${rank} />
      <${Export} name="stations" heading=${t("stations.heading")} list=${{ path: `stations?order=${order}&since=${range}`, of: "stations" }} />
    </div>
    ${list
      ? html`<${Table} stations=${list.stations.slice(0, shown)} order=${order} />`
      : html`<${Absent} error=${error} path="/stations" />`}
    ${list && list.stations.length > 0 && html`<p class="note quiet">${t("stations.since", { range: t(`range.${range}`) })}</p>`}
    <${More} hidden=${(list?.stations.length ?? 0) - shown} step=${STEP} onMore=${() => setShown(shown + STEP)} />
  </section>`;
}

/** The worker ranks them: here there may be but a part of them. @param {string} order */
function rank(order) {
  choose("order", order === "misses" ? "" : order);
}

/** @param {{stations: Station[], order: string}} props */
function Table({ stations, order }) {
  if (stations.length === 0) return html`<p class="quiet">${t("stations.none")}</p>`;
  const sorted = (/** @type {string} */ column) => (column === order ? "descending" : undefined);
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby="stations">
    <table class="cards">
      <thead>
        <tr>
          <th scope="col">${t("stations.station")}</th>
          <th scope="col" class="number" aria-sort=${sorted("misses")}>${t("stations.missed")}</th>
          <th scope="col" class="number">${t("stations.failures")}</th>
          <th scope="col" class="number">${t("stations.empties")}</th>
          <th scope="col" class="number">${t("stations.arrivals")}</th>
          <th scope="col" class="number">${t("stations.p50")}</th>
          <th scope="col" class="number" aria-sort=${sorted("slowness")}>${t("stations.p99")}</th>
        </tr>
      </thead>
      <tbody>
        ${stations.map((station) => html`<${Row} key=${station.station_id} station=${station} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{station: Station}} props */
function Row({ station }) {
  return html`<tr>
    <th scope="row" class="station"><${StationId} id=${station.station_id} /></th>
    <${Tally} name=${t("stations.missed")} n=${station.misses} />
    <${Tally} name=${t("stations.failures")} n=${station.failures} />
    <td class="number" data-name=${t("stations.empties")}>${count(station.empties)}</td>
    <td class="number" data-name=${t("stations.arrivals")}>${count(station.arrivals)}</td>
    <td class="number" data-name=${t("stations.p50")}>${duration(station.p50)}</td>
    <td class="number" data-name=${t("stations.p99")}>${duration(station.p99)}</td>
  </tr>`;
}

export const Stations = memo(StationRanks);

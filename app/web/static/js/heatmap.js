// What became of each station in each of the recent batches: by colour, and by letter for whom colours say nothing.

import { Export } from "./export.js";
import { clock } from "./format.js";
import { html, memo, useState } from "./html.js";
import { t } from "./i18n.js";
import { Absent, More, StationId, closingText } from "./parts.js";
import { pageOf, stationPage } from "./places.js";

/** @typedef {import("./types.js").Heatmap} HeatmapAnswer */

const FIRST = 20;
const STEP = 80;

/** Names of the API's cells. */
const KINDS = /** @type {Record<string, string>} */ ({ r: "result", e: "empty", f: "failed", m: "missing", "-": "absent" });

/** The sign in a cell. @param {string} kind */
function sign(kind) {
  if (kind === "result") return "·";
  return kind === "absent" ? "" : t(`heatmap.letter.${kind}`);
}

/** @param {{heatmap?: HeatmapAnswer, error: any, language: string}} props */
function StationsByBatch({ heatmap, error }) {
  const [shown, setShown] = useState(FIRST);
  return html`<section class="panel heatmap" aria-labelledby="heatmap">
    <div class="title"><h2 id="heatmap">${t("heatmap.heading")}</h2><${Legend} />
      ${heatmap && html`<${Export} name="outcomes" heading=${t("heatmap.heading")} rows=${rowsOf(heatmap)} />`}
    </div>
    ${!heatmap && html`<${Absent} error=${error} path="/heatmap" />`}
    ${heatmap && heatmap.batches.length === 0 && html`<p class="quiet">${t("heatmap.none")}</p>`}
    ${heatmap && heatmap.batches.length > 0 && html`<${Grid} heatmap=${heatmap} shown=${shown} />`}
    <${More} hidden=${(heatmap?.stations.length ?? 0) - shown} step=${STEP} onMore=${() => setShown(shown + STEP)} />
  </section>`;
}

/** A row for each station, a column for each batch. @param {HeatmapAnswer} heatmap */
function rowsOf({ stations, batches }) {
  return stations.map(({ station_id, cells }) => ({
    station_id,
    ...Object.fromEntries(batches.map(({ batch_id: id }, place) => [id, KINDS[cells[place]] ?? "absent"])),
  }));
}

function Legend() {
  return html`<ul class="legend" aria-label=${t("heatmap.legend")}>
    ${Object.values(KINDS).map(
      (kind) => html`<li key=${kind}><span class=${`cell is-${kind}`} aria-hidden="true">${sign(kind)}</span>${t(`state.${kind}`)}</li>`,
    )}
  </ul>`;
}

/** @param {{heatmap: HeatmapAnswer, shown: number}} props */
function Grid({ heatmap, shown }) {
  return html`<div class="scroll" role="region" tabindex="0" aria-label=${t("heatmap.scroll")}>
    <table class="grid" style=${{ "--columns": heatmap.batches.length }}>
      <caption class="spoken">${t("heatmap.caption")}</caption>
      <thead>
        <tr>
          <th scope="col" class="corner">${t("heatmap.station")}</th>
          ${heatmap.batches.map((batch) => html`<${Head} key=${batch.batch_id} batch=${batch} />`)}
        </tr>
      </thead>
      <tbody onClick=${(/** @type {any} */ event) => follow(event, heatmap, shown)} onMouseOver=${(/** @type {any} */ event) => name(event, heatmap, shown)}>
        ${heatmap.stations.slice(0, shown).map(
          ({ station_id: station, cells }) => html`<${Row} key=${station} station=${station} cells=${cells} letters=${t("heatmap.letter.missing")} />`,
        )}
      </tbody>
    </table>
  </div>`;
}

/**
 * The station and the batch of the cell that an event is of. Cells are no links: three thousand are too many for whoever
 * goes from link to link, and the names of the rows lead to the same pages.
 * @param {MouseEvent} event @param {HeatmapAnswer} heatmap @param {number} shown
 */
function cellOf(event, heatmap, shown) {
  const cell = /** @type {HTMLTableCellElement | null} */ (/** @type {Element} */ (event.target).closest("td"));
  const row = cell?.closest("tr");
  if (!cell || !row) return null;
  const station = heatmap.stations.slice(0, shown)[row.sectionRowIndex];
  const batch = heatmap.batches[cell.cellIndex - 1];
  return station && batch ? { cell, station, batch } : null;
}

/** @param {MouseEvent} event @param {HeatmapAnswer} heatmap @param {number} shown */
function follow(event, heatmap, shown) {
  const found = cellOf(event, heatmap, shown);
  if (found) location.hash = stationPage(found.station.station_id, { batch: found.batch.batch_id });
}

/** @param {MouseEvent} event @param {HeatmapAnswer} heatmap @param {number} shown */
function name(event, heatmap, shown) {
  const found = cellOf(event, heatmap, shown);
  if (!found) return;
  const { cell, station, batch } = found;
  const state = t(`state.${KINDS[station.cells[cell.cellIndex - 1]] ?? "absent"}`);
  cell.title = `${station.station_id}, ${clock(batch.closed_at)}: ${state}`;
}

/** @param {{batch: import("./types.js").HeatmapBatch}} props */
function Head({ batch }) {
  const how = batch.completed_by ?? "discarded";
  const label = t("heatmap.batch", { id: batch.batch_id, time: clock(batch.closed_at), how: closingText(how) });
  return html`<th scope="col">
    <a href=${pageOf(batch.batch_id)} title=${label} aria-label=${label} class=${`closed-${how}`}>${clock(batch.closed_at)}</a>
  </th>`;
}

/** `letters` only tells that the language has changed. */
const Row = memo(
  /** @param {{station: string, cells: string, letters: string}} props */
  ({ station, cells }) => html`<tr>
    <th scope="row" class="station"><${StationId} id=${station} /></th>
    ${[...cells].map((cell, place) => {
      const kind = KINDS[cell] ?? "absent";
      return html`<td key=${place} class=${`cell is-${kind}`}><span aria-hidden="true">${sign(kind)}</span><span class="spoken">${t(`state.${kind}`)}</span></td>`;
    })}
  </tr>`,
);

export const HeatmapPanel = memo(StationsByBatch);

// Each station of a batch with its state: filtered, searched, and no more at a time than a browser renders gladly.

import { choose, chosen } from "./choices.js";
import { Export } from "./export.js";
import { count } from "./format.js";
import { html, memo, useMemo, useState } from "./html.js";
import { t } from "./i18n.js";
import { Choice, More, StationId } from "./parts.js";

/** @typedef {import("./types.js").BatchDetail} BatchDetail */
/** @typedef {{station: string, state: string, error: string}} StationState */

const PAGE = 100; // stations at first: what went on with the batch stands below them
const SIGNS = /** @type {Record<string, string>} */ ({ result: "✓", empty: "○", failed: "✕", missing: "–", pending: "…" });

/**
 * The stations, those first that need somebody to look.
 * @param {BatchDetail} batch
 * @returns {StationState[]}
 */
export function statesOf(batch) {
  const absent = batch.status === "open" ? "pending" : "missing";
  const missing = new Set(batch.missing);
  const empty = new Set(batch.empty);
  const failed = new Map(batch.failed.map(({ station_id: station, error }) => [station, error]));
  /** @type {Record<string, StationState[]>} */
  const groups = { failed: [], [absent]: [], empty: [], result: [] };
  for (const station of batch.expected) {
    const error = failed.get(station);
    const state = error !== undefined ? "failed" : missing.has(station) ? absent : empty.has(station) ? "empty" : "result";
    groups[state].push({ station, state, error: error ?? "" });
  }
  return Object.values(groups).flat();
}

/** @param {{batch: BatchDetail, query: string, language: string}} props */
function States({ batch, query }) {
  const filter = chosen(query, "show", "every");
  const search = chosen(query, "find", "");
  const [shown, setShown] = useState(PAGE);
  const states = useMemo(() => statesOf(batch), [batch]);
  const counts = /** @type {Record<string, number>} */ ({});
  for (const { state } of states) counts[state] = (counts[state] ?? 0) + 1;
  const wanted = search.trim().toLowerCase();
  const found = states.filter(
    ({ station, state }) => (filter === "every" || state === filter) && station.toLowerCase().includes(wanted),
  );
  const kinds = Object.keys(SIGNS).filter((kind) => counts[kind] || kind === filter);
  const choices = [
    { value: "every", text: `${t("batch.every")} ${count(states.length)}` },
    ...kinds.map((kind) => ({ value: kind, text: `${SIGNS[kind]} ${t(`state.${kind}`)} ${count(counts[kind] ?? 0)}` })),
  ];
  return html`<section class="states" aria-labelledby="states">
    <div class="title">
      <h3 id="states">${t("batch.stations")}</h3>
      <${Export}
        name="stations"
        heading=${t("batch.stations")}
        rows=${found.map(({ station, state, error }) => ({ batch_id: batch.batch_id, station_id: station, state, error }))}
      />
    </div>
    <div class="tools">
      <${Choice} label=${t("batch.filter")} choices=${choices} value=${filter} onChoose=${(/** @type {string} */ kind) => choose("show", kind === "every" ? "" : kind)} />
      <label class="search"><span class="spoken">${t("batch.search")}</span>
        <input
          type="search"
          placeholder=${t("batch.search")}
          value=${search}
          onInput=${(/** @type {any} */ event) => choose("find", event.target.value)}
      /></label>
    </div>
    ${found.length === 0
      ? html`<p class="quiet">${t("batch.nothing")}</p>`
      : html`<ul class="tiles" aria-labelledby="states">
          ${found.slice(0, shown).map((tile) => html`<${Tile} key=${tile.station} ...${tile} word=${t(`state.${tile.state}`)} />`)}
        </ul>`}
    <${More} hidden=${found.length - shown} step=${PAGE * 5} onMore=${() => setShown(shown + PAGE * 5)} />
  </section>`;
}

const Tile = memo(
  /** @param {StationState & {word: string}} props */
  ({ station, state, error, word }) => html`<li class=${`tile is-${state}`}>
    <span class="sign" aria-hidden="true">${SIGNS[state]}</span>
    <span class="station"><${StationId} id=${station} /></span>
    <span class="state">${word}</span>
    ${error && html`<span class="reason">${error}</span>`}
  </li>`,
);

export const StationStates = memo(States);

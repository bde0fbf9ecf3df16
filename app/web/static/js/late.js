// The page of the results that came too late for their batch.

import { Export } from "./export.js";
import { fieldsWith, Filters, Found, useOlder } from "./filters.js";
import { duration, moment } from "./format.js";
import { html } from "./html.js";
import { has, t } from "./i18n.js";
import { BatchId, StationId } from "./parts.js";

/** @typedef {import("./types.js").Late} Late */

const REASONS = ["batch-closed", "unknown-batch"];

/** @param {{state: import("./store.js").State}} props */
export function LatePage({ state }) {
  const page = state.data.late;
  const older = useOlder({
    path: "late",
    query: state.query,
    page,
    rowsOf: (answer) => answer.late,
    keyOf: (late) => JSON.stringify(late),
    timeOf: (late) => late.timestamp,
  });
  return html`<section class="panel lates">
    <div class="title">
      <h2 id="late" tabindex="-1">${t("late.heading")}</h2>
      <${Export} name="late-results" heading=${t("late.heading")} list=${{ path: older.filtered, of: "late" }} />
    </div>
    <p class="quiet">${t("late.what")}</p>
    <${Filters}
      view="late"
      query=${state.query}
      fields=${fieldsWith(REASONS)}
    />
    <${Found} older=${older} page=${page} error=${state.errors.late}>
      <${Table} rows=${older.rows} />
    <//>
  </section>`;
}

/** @param {{rows: Late[]}} props */
function Table({ rows }) {
  if (rows.length === 0) return html`<p class="quiet">${t("late.none")}</p>`;
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby="late">
    <table class="cards">
      <thead>
        <tr>
          <th scope="col">${t("filter.station")}</th>
          <th scope="col">${t("filter.batch")}</th>
          <th scope="col">${t("late.time")}</th>
          <th scope="col" class="number">${t("late.after")}</th>
          <th scope="col">${t("late.status")}</th>
          <th scope="col">${t("filter.reason")}</th>
          <th scope="col" class="number">${t("late.revision")}</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((late) => html`<${Row} key=${JSON.stringify(late)} late=${late} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{late: Late}} props */
function Row({ late }) {
  return html`<tr>
    <th scope="row" class="station"><${StationId} id=${late.station_id} /></th>
    <td class="batch"><${BatchId} id=${late.batch_id} /></td>
    <td class="time">${moment(late.timestamp)}</td>
    <td class="number" data-name=${t("late.after")}>${late.closed_at ? duration(late.timestamp - late.closed_at) : t("none")}</td>
    <td class="word">${late.status !== null && has(`state.${late.status}`) ? t(`state.${late.status}`) : (late.status ?? t("none"))}</td>
    <td class="word">${late.reason ?? t("none")}</td>
    <td class="number" data-name=${t("late.revision")}>${late.revision ?? t("none")}</td>
  </tr>`;
}

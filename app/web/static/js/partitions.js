// The page of the partitions: who reads each, and how far.

import { choose, chosen } from "./choices.js";
import * as clock from "./clock.js";
import { Export } from "./export.js";
import { count, duration } from "./format.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { Absent, Choice } from "./parts.js";

/** @typedef {import("./types.js").Partition} Partition */

/** @param {{state: import("./store.js").State}} props */
export function PartitionsPage({ state }) {
  const answer = state.data.partitions;
  const shown = chosen(state.query, "show", "every");
  const choices = ["every", "behind"].map((value) => ({ value, text: t(`partitions.${value}`) }));
  const rows = (answer?.partitions ?? []).filter((/** @type {Partition} */ row) => shown === "every" || row.recovering || (row.lag ?? 0) > 0);
  return html`<section class="panel partitions">
    <div class="title">
      <h2 id="partitions" tabindex="-1">${t("partitions.heading")}</h2>
      <${Choice} label=${t("partitions.show")} choices=${choices} value=${shown} onChoose=${(/** @type {string} */ value) => choose("show", value === "every" ? "" : value)} />
      ${answer && html`<${Export} name="partitions" heading=${t("partitions.heading")} rows=${rows} />`}
    </div>
    <p class="quiet">${t("partitions.what")}</p>
    ${answer ? html`<${Table} rows=${rows} />` : html`<${Absent} error=${state.errors.partitions} path="/partitions" />`}
  </section>`;
}

/** @param {{rows: Partition[]}} props */
function Table({ rows }) {
  if (rows.length === 0) return html`<p class="quiet">${t("partitions.none")}</p>`;
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby="partitions">
    <table class="cards">
      <thead>
        <tr>
          <th scope="col">${t("partitions.topic")}</th>
          <th scope="col" class="number">${t("partitions.partition")}</th>
          <th scope="col" class="number">${t("partitions.lag")}</th>
          <th scope="col" class="number">${t("partitions.oldest")}</th>
          <th scope="col" class="number">${t("partitions.committed")}</th>
          <th scope="col" class="number">${t("partitions.end")}</th>
          <th scope="col">${t("partitions.worker")}</th>
          <th scope="col">${t("workers.state")}</th>
        </tr>
      </thead>
      <tbody>
        ${rows.map((row) => html`<${Row} key=${`${row.topic} ${row.partition}`} row=${row} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{row: Partition}} props */
function Row({ row }) {
  const oldest = row.oldest_unacknowledged_at;
  const lag = row.lag ?? 0;
  return html`<tr>
    <th scope="row" class="whole">${row.topic}</th>
    <td class="number" data-name=${t("partitions.partition")}>${row.partition}</td>
    <td class=${`number ${lag > 0 ? "is-many" : "is-zero"}`} data-name=${t("partitions.lag")}>${count(row.lag)}</td>
    <td class="number" data-name=${t("partitions.oldest")}>${oldest === null ? t("none") : duration(Math.max(0, clock.now() - oldest))}</td>
    <td class="number" data-name=${t("partitions.committed")}>${count(row.committed)}</td>
    <td class="number" data-name=${t("partitions.end")}>${count(row.end)}</td>
    <td class="whole">${row.worker}</td>
    <td class=${row.recovering ? "worker-recovering" : "worker-ready"}>${t(row.recovering ? "workers.recovering" : "workers.ready")}</td>
  </tr>`;
}

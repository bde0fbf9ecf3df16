// The batches that were closed last, and how.

import { Export } from "./export.js";
import { clock, count, duration, moment } from "./format.js";
import { html, memo } from "./html.js";
import { t } from "./i18n.js";
import { Absent, BatchId, Closing, More, Tally } from "./parts.js";
import { hurry } from "./poll.js";
import { set } from "./store.js";

const MOST = 1000; // rows of one answer

/** @param {{closed?: import("./types.js").BatchList, error: any, limit: number, language: string}} props */
function RecentBatches({ closed, error, limit }) {
  return html`<section class="panel recent">
    <div class="title">
      <h2 id="recent">${t("recent.heading")}</h2>
      <${Export} name="batches" heading=${t("recent.heading")} list=${{ path: "batches?status=closed", of: "batches" }} />
    </div>
    ${closed ? html`<${BatchTable} batches=${closed.batches} heading="recent" none=${t("recent.none")} />` : html`<${Absent} error=${error} path="/batches" />`}
    <${More}
      hidden=${closed?.next && limit < MOST ? Infinity : 0}
      onMore=${() => {
        set({ closedLimit: Math.min(limit * 5, MOST) });
        hurry();
      }}
    />
  </section>`;
}

/** @param {{batches: import("./types.js").BatchRow[], heading: string, none: string, days?: boolean}} props `none`: said of no batch */
export function BatchTable({ batches, heading, none, days = false }) {
  if (batches.length === 0) return html`<p class="quiet">${none}</p>`;
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby=${heading}>
    <table class="cards">
      <thead>
        <tr>
          <th scope="col">${t("recent.batch")}</th>
          <th scope="col">${t("recent.closed")}</th>
          <th scope="col">${t("recent.how")}</th>
          <th scope="col" class="number">${t("recent.arrived")}</th>
          <th scope="col" class="number">${t("recent.missing")}</th>
          <th scope="col" class="number">${t("recent.failed")}</th>
          <th scope="col" class="number">${t("recent.duration")}</th>
        </tr>
      </thead>
      <tbody>
        ${batches.map((batch) => html`<${Row} key=${batch.batch_id} batch=${batch} days=${days} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{batch: import("./types.js").BatchRow, days: boolean}} props */
function Row({ batch, days }) {
  const missing = batch.expected_count - batch.arrived_count;
  const took = batch.closed_at === null ? null : batch.closed_at - batch.opened_at;
  return html`<tr>
    <th scope="row"><${BatchId} id=${batch.batch_id} /></th>
    <td class="time">${(days ? moment : clock)(batch.closed_at)}</td>
    <td><${Closing} batch=${batch} /></td>
    <td class="number">${count(batch.arrived_count)} / ${count(batch.expected_count)}</td>
    <${Tally} name=${t("recent.missing")} n=${missing} />
    <${Tally} name=${t("recent.failed")} n=${batch.failed_count} />
    <td class="number">${duration(took)}</td>
  </tr>`;
}

export const Recent = memo(RecentBatches);

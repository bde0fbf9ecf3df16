// The batches in flight: how far each is, and how long it has.

import { ActionButtons } from "./actions.js";
import * as clock from "./clock.js";
import { count, left } from "./format.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { Absent, BatchId, More, Progress, useTick } from "./parts.js";
import { hurry } from "./poll.js";
import { set } from "./store.js";

const MOST = 1000; // rows of one answer

/** @param {{state: import("./store.js").State}} props */
export function Flight({ state }) {
  useTick(250);
  const { open, stats } = state.data;
  const now = clock.now();
  return html`<section class="panel flight" aria-labelledby="flight">
    <h2 id="flight">${t("flight.heading")} ${stats && html`<span class="quiet">${count(stats.open_batches)}</span>`}</h2>
    ${open ? html`<${Rows} state=${state} batches=${open.batches} now=${now} />` : html`<${Absent} error=${state.errors.open} path="/batches" />`}
    <${More}
      hidden=${open?.next && state.openLimit < MOST ? Math.max((stats?.open_batches ?? 0) - open.batches.length, 1) : 0}
      step=${Math.min(state.openLimit * 4, MOST - state.openLimit)}
      onMore=${() => {
        set({ openLimit: Math.min(state.openLimit * 5, MOST) });
        hurry();
      }}
    />
  </section>`;
}

/** @param {{state: any, batches: import("./types.js").BatchRow[], now: number}} props */
function Rows({ state, batches, now }) {
  if (batches.length === 0) return html`<p class="quiet">${t("flight.none")}</p>`;
  const urgent = [...batches].sort((a, b) => a.deadline - b.deadline || (a.batch_id < b.batch_id ? -1 : 1));
  return html`<ul class="rows">
    ${urgent.map((batch) => html`<${Row} key=${batch.batch_id} batch=${batch} now=${now} state=${state} />`)}
  </ul>`;
}

/** @param {{batch: import("./types.js").BatchRow, now: number, state: any}} props */
function Row({ batch, now, state }) {
  const rest = batch.deadline - now;
  const whole = Math.max(batch.deadline - batch.opened_at, 0.001);
  const kinds = [
    batch.failed_count > 0 && t("flight.failed", { n: count(batch.failed_count) }),
    batch.empty_count > 0 && t("flight.empty", { n: count(batch.empty_count) }),
  ].filter(Boolean);
  return html`<li class="flying" data-due=${rest <= 0}>
    <div class="line">
      <${BatchId} id=${batch.batch_id} />
      <span class="tally">
        ${kinds.length > 0 && html`<small class="quiet">${kinds.join(", ")}</small>`}
        <span><b>${count(batch.arrived_count)}</b> / ${count(batch.expected_count)}</span>
      </span>
    </div>
    <div class="line">
      <${Progress} batch=${batch} />
      <span class="left">
        <span class="sand" aria-hidden="true"><i style=${{ width: `${Math.min(Math.max((100 * rest) / whole, 0), 100)}%` }}></i></span>
        ${left(rest)}
      </span>
      <${ActionButtons} batch=${batch} state=${state} />
    </div>
  </li>`;
}

// The page of one batch: its times, its actions, the state of each station, and its course.

import { ActionButtons, whyNot } from "./actions.js";
import * as clock from "./clock.js";
import { CopyButton } from "./copy.js";
import { Course } from "./course.js";
import { count, duration, left, moment } from "./format.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { Absent, Closing, Progress, useTick } from "./parts.js";
import { StationStates } from "./states.js";

/** The course comes last: it comes later than the rest, and grows while the batch is open. @param {{state: import("./store.js").State}} props */
export function BatchPage({ state }) {
  const batch = state.data.batch?.batch_id === state.batchId ? state.data.batch : undefined;
  const error = state.errors.batch;
  return html`<article class="panel batch" aria-labelledby="batch">
    <p><a class="back" href="#/">← ${t("batch.back")}</a></p>
    <div class="title">
      <h2 id="batch" tabindex="-1" class="whole">${state.batchId}</h2>
      <${CopyButton} text=${state.batchId} />
    </div>
    ${error?.status === 404 && html`<p class="error" role="alert">${t("batch.unknown", { id: state.batchId })}</p>`}
    ${!batch && error?.status !== 404 && html`<${Absent} error=${error} path=${`/batches/${state.batchId}`} />`}
    ${batch && html`<${Facts} batch=${batch} state=${state} />`}
    ${batch && html`<${StationStates} key=${batch.batch_id} batch=${batch} query=${state.query} language=${state.language} />`}
    ${batch && html`<${Course} key=${`course ${batch.batch_id}`} batch=${batch} language=${state.language} />`}
  </article>`;
}

/** @param {{batch: import("./types.js").BatchDetail, state: import("./store.js").State}} props */
function Facts({ batch, state }) {
  useTick(250);
  const open = batch.status === "open";
  const reason = whyNot(state);
  return html`<div class="facts">
    <p class="headline"><${Closing} batch=${batch} />
      <b>${count(batch.arrived_count)} / ${count(batch.expected_count)}</b></p>
    <${Progress} batch=${batch} />
    <dl>
      <${Fact} name="opened" value=${moment(batch.opened_at)} />
      <${Fact} name="deadline" value=${moment(batch.deadline)} />
      ${open
        ? html`<${Fact} name="left" value=${left(batch.deadline - clock.now())} />`
        : html`<${Fact} name="closed" value=${moment(batch.closed_at)} />
            <${Fact} name="duration" value=${duration((batch.closed_at ?? 0) - batch.opened_at)} />
            <${Fact} name="revision" value=${batch.revision} />`}
      <${Fact} name="partition" value=${batch.partition} />
      <${Fact} name="worker" value=${batch.worker} />
    </dl>
    ${open && html`<${ActionButtons} batch=${batch} state=${state} />`}
    ${open && reason && html`<p class="quiet">${reason}</p>`}
  </div>`;
}

/** @param {{name: string, value: string | number}} props */
function Fact({ name, value }) {
  return html`<div><dt>${t(`batch.${name}`)}</dt><dd>${value}</dd></div>`;
}

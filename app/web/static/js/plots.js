// The last hour in four small plots.

import { count, duration, short } from "./format.js";
import { html, memo } from "./html.js";
import { t } from "./i18n.js";
import { Absent } from "./parts.js";
import { Plot } from "./plot.js";

/** @typedef {import("./types.js").Sample} Sample */
/** @typedef {{name: string, fields: (keyof Sample)[], labels: string[], show: (value: number | null | undefined) => string}} Drawn */

/** @type {Drawn[]} */
const PLOTS = [
  { name: "throughput", fields: ["throughput"], labels: [], show: short },
  { name: "duration", fields: ["duration_p50", "duration_p99"], labels: ["p50", "p99"], show: duration },
  { name: "open", fields: ["open_batches"], labels: [], show: count },
  { name: "lag", fields: ["lag"], labels: [], show: short },
];

/** @param {{history?: import("./types.js").History, error: any, language: string, theme: string}} props */
function AllPlots({ history, error, language, theme }) {
  return html`<section class="panel plots" aria-labelledby="plots">
    <h2 id="plots">${t("plots.heading")}</h2>
    ${!history && html`<${Absent} error=${error} path="/history" />`}
    ${history && history.samples.length === 0 && html`<p class="quiet">${t("plots.none")}</p>`}
    ${history &&
    history.samples.length > 0 &&
    html`<div class="plot-grid">
      ${PLOTS.map((drawn) => html`<${Figure} key=${drawn.name} drawn=${drawn} samples=${history.samples} look=${`${language} ${theme}`} />`)}
    </div>`}
  </section>`;
}

/** @param {{drawn: Drawn, samples: Sample[], look: string}} props */
function Figure({ drawn, samples, look }) {
  const { name, fields, labels, show } = drawn;
  const last = samples[samples.length - 1];
  const main = fields[fields.length - 1];
  const most = Math.max(0, ...samples.map((sample) => sample[main] ?? 0));
  const title = t(`plots.${name}`);
  const described = t("plots.described", { name: title, now: show(last[main]), most: show(most) });
  return html`<figure>
    <figcaption>
      <span>${title}</span>
      ${fields.map(
        (field, place) => html`<b key=${field} class=${`series-${place}`}>${labels[place] && html`<small>${t(`plots.${labels[place]}`)} </small>`}${show(last[field])}</b>`,
      )}
    </figcaption>
    <${Plot} samples=${samples} fields=${fields} show=${show} look=${look} label=${described} />
  </figure>`;
}

export const Plots = memo(AllPlots);

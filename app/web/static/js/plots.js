// The last hour, or a part of it, in four small plots.

import { count, duration, short } from "./format.js";
import { html, memo, useMemo } from "./html.js";
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

const SECONDS = /** @type {Record<string, number>} */ ({ "15m": 900, "1h": 3600 });

/** @param {{history?: import("./types.js").History, range: string, error: any, language: string, theme: string}} props */
function AllPlots({ history, range, error, language, theme }) {
  const from = (history?.samples.at(-1)?.at ?? 0) - SECONDS[range];
  const samples = useMemo(() => history?.samples.filter((sample) => sample.at > from) ?? [], [history, range]);
  return html`<section class="panel plots" aria-labelledby="plots">
    <h2 id="plots">${t(`plots.${range}`)}</h2>
    ${!history && html`<${Absent} error=${error} path="/history" />`}
    ${history && samples.length === 0 && html`<p class="quiet">${t("plots.none")}</p>`}
    ${samples.length > 0 &&
    html`<div class="plot-grid">
      ${PLOTS.map((drawn) => html`<${Figure} key=${drawn.name} drawn=${drawn} samples=${samples} range=${range} look=${`${language} ${theme}`} />`)}
    </div>`}
  </section>`;
}

/** @param {{drawn: Drawn, samples: Sample[], range: string, look: string}} props */
function Figure({ drawn, samples, range, look }) {
  const { name, fields, labels, show } = drawn;
  const last = samples[samples.length - 1];
  const main = fields[fields.length - 1];
  const most = Math.max(0, ...samples.map((sample) => sample[main] ?? 0));
  const title = t(`plots.${name}`);
  const described = t("plots.described", { name: title, now: show(last[main]), most: show(most), range: t(`range.${range}`) });
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

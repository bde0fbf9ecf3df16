// The last hour, or a part of it, in four small plots.

import { Export } from "./export.js";
import { clock, count, duration, short } from "./format.js";
import { html, memo, useMemo, useState } from "./html.js";
import { t } from "./i18n.js";
import { marksOf } from "./marks.js";
import { Absent, useStateOf } from "./parts.js";
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

const SHORTEST = 60; // seconds: a plot of fewer samples says nothing
const LISTED = 6; // marks that are listed

/** @typedef {import("./plot.js").Span} Span */

/**
 * @param {{history?: import("./types.js").History, cluster?: import("./types.js").ClusterState, operated?: import("./types.js").BatchList,
 *   range: string, error: any, language: string, theme: string}} props
 */
function AllPlots({ history, cluster, operated, range, error, language, theme }) {
  const [at, look] = useState(/** @type {number | null} */ (null));
  const [span, setSpan] = useStateOf(range, () => /** @type {Span | null} */ (null));
  const end = history?.samples.at(-1)?.at ?? 0;
  const from = end - SECONDS[range];
  const samples = useMemo(() => history?.samples.filter((sample) => sample.at > from) ?? [], [history, range]);
  const marks = useMemo(() => marksOf(cluster, operated?.batches ?? []).filter((mark) => mark.at > from), [cluster, operated, from, language]);
  const first = samples[0]?.at ?? 0;
  /** @param {Span | null} wanted */
  const zoom = (wanted) => setSpan(wanted && within(wanted, first, end));
  const seen = marks.filter((mark) => !span || (mark.at >= span[0] && mark.at <= span[1]));
  return html`<section class="panel plots" aria-labelledby="plots">
    <div class="title">
      <h2 id="plots">${t(`plots.${range}`)}</h2>
      ${samples.length > 0 && html`<${Export} name="history" heading=${t(`plots.${range}`)} rows=${samples} />`}
    </div>
    ${!history && html`<${Absent} error=${error} path="/history" />`}
    ${history && samples.length === 0 && html`<p class="quiet">${t("plots.none")}</p>`}
    ${samples.length > 0 &&
    html`<${Tools} samples=${samples} at=${at} onLook=${look} span=${span} onSpan=${zoom} />
      <div class="plot-grid">
        ${PLOTS.map(
          (drawn) =>
            html`<${Figure}
              key=${drawn.name} drawn=${drawn} samples=${samples} range=${range} look=${`${language} ${theme}`}
              marks=${marks} at=${at} onLook=${look} span=${span} onSpan=${zoom}
            />`,
        )}
      </div>
      <ul class="marks" aria-label=${t("marks.label")}>
        ${seen.slice(0, LISTED).map(
          (mark) => html`<li key=${`${mark.kind} ${mark.at} ${mark.text}`}>
            <span class=${`mark-${mark.kind}`} aria-hidden="true">▶</span> <time>${clock(mark.at)}</time> <a class="whole" href=${mark.href}>${mark.text}</a>
          </li>`,
        )}
        ${seen.length > LISTED && html`<li class="quiet">${t("marks.more", { n: count(seen.length - LISTED) })}</li>`}
      </ul>`}
  </section>`;
}

/** A span that is not too short, and in the time that there is. @param {Span} span @param {number} first @param {number} end @returns {Span | null} */
function within([from, to], first, end) {
  const length = Math.max(to - from, SHORTEST);
  if (length >= end - first) return null;
  const start = Math.min(Math.max((from + to - length) / 2, first), end - length);
  return [start, start + length];
}

/**
 * What the mouse does, for the keyboard and the finger.
 * @param {{samples: Sample[], at: number | null, onLook: (at: number | null) => void, span: Span | null, onSpan: (span: Span | null) => void}} props
 */
function Tools({ samples, at, onLook, span, onSpan }) {
  const [from, to] = span ?? [samples[0].at, samples[samples.length - 1].at];
  const seen = samples.filter((sample) => sample.at >= from && sample.at <= to);
  const place = at === null ? -1 : seen.findIndex((sample) => sample.at === at);
  const chosen = seen[place];
  /** @param {number} factor @param {number} shift both as shares of what is shown */
  const move = (factor, shift) => {
    const middle = at !== null && factor < 1 ? at : (from + to) / 2 + shift * (to - from);
    onSpan([middle - (factor * (to - from)) / 2, middle + (factor * (to - from)) / 2]);
  };
  const tools = /** @type {[string, string, boolean, () => void][]} */ ([
    ["earlier", "←", span !== null, () => move(1, -0.5)],
    ["later", "→", span !== null, () => move(1, 0.5)],
    ["in", "+", to - from > SHORTEST, () => move(0.5, 0)],
    ["out", "−", span !== null, () => move(2, 0)],
    ["whole", t("zoom.whole"), span !== null, () => onSpan(null)],
  ]);
  return html`<div class="plot-tools" role="group" aria-label=${t("zoom.label")} title=${t("zoom.how")}>
    ${tools.map(
      ([name, sign, able, act]) =>
        html`<button key=${name} type="button" class="plain" disabled=${!able} aria-label=${t(`zoom.${name}`)} onClick=${act}>${sign}</button>`,
    )}
    <input
      type="range"
      aria-label=${t("zoom.at")}
      aria-valuetext=${chosen ? told(chosen) : t("zoom.now")}
      min="0"
      max=${Math.max(seen.length - 1, 0)}
      value=${place < 0 ? seen.length - 1 : place}
      onInput=${(/** @type {any} */ event) => onLook(seen[Number(event.target.value)]?.at ?? null)}
      onBlur=${() => onLook(null)}
    />
    <time class="quiet">${chosen ? clock(chosen.at) : t("zoom.now")}</time>
  </div>`;
}

/** A sample in words. @param {Sample} sample */
function told(sample) {
  const values = PLOTS.flatMap(({ name, fields, labels, show }) =>
    fields.map((field, place) => `${t(`plots.${name}`)} ${labels[place] ? `${t(`plots.${labels[place]}`)} ` : ""}${show(sample[field])}`),
  );
  return `${clock(sample.at)}: ${values.join(", ")}`;
}

/**
 * @param {{drawn: Drawn, samples: Sample[], range: string, look: string, marks: import("./marks.js").Mark[], at: number | null,
 *   onLook: (at: number | null) => void, span: Span | null, onSpan: (span: Span | null) => void}} props
 */
function Figure({ drawn, samples, range, look, at, ...more }) {
  const { name, fields, labels, show } = drawn;
  const last = samples[samples.length - 1];
  const looked = at === null ? undefined : samples.find((sample) => sample.at === at);
  const main = fields[fields.length - 1];
  const most = Math.max(0, ...samples.map((sample) => sample[main] ?? 0));
  const title = t(`plots.${name}`);
  const described = t("plots.described", { name: title, now: show(last[main]), most: show(most), range: t(`range.${range}`) });
  return html`<figure>
    <figcaption>
      <span>${title}</span>
      ${looked && html`<time>${clock(looked.at)}</time>`}
      ${fields.map(
        (field, place) =>
          html`<b key=${field} class=${`series-${place}`}>${labels[place] && html`<small>${t(`plots.${labels[place]}`)} </small>`}${show((looked ?? last)[field])}</b>`,
      )}
    </figcaption>
    <${Plot} samples=${samples} fields=${fields} show=${show} look=${look} label=${described} at=${at} ...${more} />
  </figure>`;
}

export const Plots = memo(AllPlots);

// A station beside the others.

import { ApiError, request } from "./api.js";
import { Export } from "./export.js";
import { count, duration, share } from "./format.js";
import { html, memo, useEffect, useState } from "./html.js";
import { explain, t } from "./i18n.js";

/** @typedef {import("./types.js").Station} Station */
/** @typedef {(station: Station) => number | null} Measure */

const PAGES = 10; // of 1,000 stations that are asked for
const AGAIN = 60_000; // milliseconds
const WORSE = 0.9; // of the others: a station that is worse than so many stands out

/** How many batches expected it. @param {Station} station */
const expectations = ({ arrivals, misses }) => arrivals + misses;

/** @type {{name: string, of: Measure, text: (value: number) => string}[]} */
const MEASURES = [
  { name: "misses", of: (one) => (expectations(one) > 0 ? one.misses / expectations(one) : null), text: (value) => share(value, 1) },
  { name: "failures", of: (one) => (one.arrivals > 0 ? one.failures / one.arrivals : null), text: (value) => share(value, 1) },
  { name: "p50", of: (one) => one.p50, text: duration },
  { name: "p99", of: (one) => one.p99, text: duration },
];

/**
 * Where a value stands among others'.
 * @param {number} own @param {number[]} others
 * @returns {{median: number, worse: number}} `worse`: than which share of them
 */
export function standing(own, others) {
  const sorted = [...others].sort((one, other) => one - other);
  const middle = (sorted.length - 1) / 2;
  const median = (sorted[Math.floor(middle)] + sorted[Math.ceil(middle)]) / 2;
  return { median, worse: sorted.filter((value) => value < own).length / sorted.length };
}

/** @param {{station: Station, language: string}} props */
function Compared({ station }) {
  const { stations, whole, failure } = useStations();
  const others = stations.filter(({ station_id: id }) => id !== station.station_id);
  return html`<section aria-labelledby="fleet">
    <div class="title">
      <h3 id="fleet">${t("fleet.heading")}</h3>
      <${Export} name="comparison" heading=${t("fleet.heading")} rows=${MEASURES.map((measure) => rowOf(measure, station, others))} />
    </div>
    <p class="quiet">
      ${failure || (stations.length === 0 ? t("loading") : t(whole ? "fleet.what" : "fleet.part", { n: count(others.length) }))}
    </p>
    <table class="fleet">
      <caption class="spoken">${t("fleet.heading")}</caption>
      <thead>
        <tr>
          <td></td>
          <th scope="col" class="number">${t("fleet.own")}</th>
          <th scope="col" class="number">${t("fleet.median")}</th>
          <th scope="col" class="number">${t("fleet.worse")}</th>
        </tr>
      </thead>
      <tbody>
        ${MEASURES.map((measure) => html`<${Row} key=${measure.name} measure=${measure} station=${station} others=${others} />`)}
      </tbody>
    </table>
    <p class="quiet">${t("fleet.counts", { arrived: count(station.arrivals), missed: count(station.misses), failed: count(station.failures), empty: count(station.empties) })}</p>
  </section>`;
}

/** @param {typeof MEASURES[number]} measure @param {Station} station @param {Station[]} others */
function rowOf(measure, station, others) {
  const own = measure.of(station);
  const values = others.flatMap((one) => measure.of(one) ?? []);
  const { median, worse } = standing(own ?? 0, values);
  const some = values.length > 0;
  return { measure: measure.name, own, median: some ? median : null, worse: own !== null && some ? worse : null };
}

/** @param {{measure: typeof MEASURES[number], station: Station, others: Station[]}} props */
function Row({ measure, station, others }) {
  const { own, median, worse } = rowOf(measure, station, others);
  return html`<tr>
    <th scope="row">${t(`fleet.${measure.name}`)}</th>
    <td class="number">${own === null ? t("none") : measure.text(own)}</td>
    <td class="number">${median === null ? t("none") : measure.text(median)}</td>
    <td class=${worse !== null && worse >= WORSE ? "number is-many" : "number"}>${worse === null ? t("none") : share(worse, 1)}</td>
  </tr>`;
}

/** All stations, asked for again now and then. @returns {{stations: Station[], whole: boolean, failure: string}} */
function useStations() {
  const [known, setKnown] = useState({ stations: /** @type {Station[]} */ ([]), whole: true, failure: "" });
  useEffect(() => {
    let wanted = true;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const ask = async () => {
      try {
        const found = document.hidden ? null : await allStations();
        if (wanted && found) setKnown({ ...found, failure: "" });
      } catch (error) {
        const failure = error instanceof ApiError ? explain(error) : String(error);
        if (wanted) setKnown((/** @type {any} */ before) => ({ ...before, failure }));
      }
      if (wanted) timer = setTimeout(ask, AGAIN);
    };
    ask();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, []);
  return known;
}

async function allStations() {
  /** @type {Map<string, Station>} */
  const stations = new Map();
  /** @type {string | null} */
  let cursor = "";
  for (let page = 0; page < PAGES && cursor !== null; page += 1) {
    const answer = JSON.parse(await request(`stations?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`));
    for (const one of answer.stations) stations.set(one.station_id, one);
    cursor = answer.next;
  }
  return { stations: [...stations.values()], whole: cursor === null };
}

export const Fleet = memo(Compared);

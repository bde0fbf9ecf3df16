// The page of one station: what became of it lately, how that compares, and what it sent last.

import { CopyButton } from "./copy.js";
import { Export } from "./export.js";
import { Fleet } from "./fleet.js";
import { count, duration, moment } from "./format.js";
import { html, memo, useLayoutEffect, useRef, useState } from "./html.js";
import { t } from "./i18n.js";
import { Absent, BatchId, Choice, More } from "./parts.js";
import { listPage, pageOf, stationPage } from "./places.js";
import { OUTCOMES, outcomesAsked } from "./station_answer.js";

/** @typedef {import("./types.js").StationOutcome} StationOutcome */
/** @typedef {import("./types.js").StationDetail} StationDetail */

const FIRST = 10; // batches without its result
const STEP = 90;
const BAD = new Set(["missing", "failed", "skipped"]);

/** @param {{state: import("./store.js").State}} props */
export function StationPage({ state }) {
  const { stationId: id, query } = state;
  const station = state.data.station?.station_id === id ? state.data.station : undefined;
  const error = state.errors.station;
  return html`<article class="panel station-page" aria-labelledby="station">
    <p><a class="back" href="#/">← ${t("batch.back")}</a></p>
    <div class="title">
      <h2 id="station" tabindex="-1" class="whole">${id}</h2>
      <${CopyButton} text=${id} />
    </div>
    ${error?.status === 404 && html`<p class="error" role="alert">${t("station.unknown", { id })}</p>`}
    ${!station && error?.status !== 404 && html`<${Absent} error=${error} path=${`/stations/${id}`} />`}
    ${station && html`<${Outcomes} station=${station} query=${query} language=${state.language} />`}
    ${station && html`<${Fleet} key=${id} station=${station} language=${state.language} />`}
    ${station && html`<${Misses} key=${`misses ${id}`} outcomes=${station.outcomes} language=${state.language} />`}
    ${station && html`<${Letters} id=${id} page=${state.data.stationLetters} error=${state.errors.stationLetters} />`}
    ${station && html`<${Json} name="record" value=${station.last_record} language=${state.language} />`}
    ${station && html`<${Json} name="context" value=${station.context} language=${state.language} />`}
  </article>`;
}

/** @param {{station: StationDetail, query: string}} props */
function AllOutcomes({ station, query }) {
  const { outcomes, station_id: id } = station;
  const marked = new URLSearchParams(query).get("batch") ?? "";
  const choices = OUTCOMES.map((n) => ({ value: String(n), text: count(n) }));
  const choose = (/** @type {string} */ n) => {
    location.hash = stationPage(id, { batches: n, batch: marked });
  };
  return html`<section>
    <div class="title">
      <h3 id="outcomes">${t("station.outcomes", { n: count(outcomes.length) })}</h3>
      <${Choice} label=${t("station.many")} choices=${choices} value=${String(outcomesAsked(query))} onChoose=${choose} />
      <${Export} name="outcomes" heading=${t("station.outcomes", { n: count(outcomes.length) })} rows=${outcomes} />
    </div>
    <p class=${BAD.has(outcomes[0]?.status) ? "lately is-bad" : "lately"}>${lately(outcomes)}</p>
    ${outcomes.length > 0 && html`<${Strip} outcomes=${outcomes} marked=${marked} />`}
    <p class="links">
      <a href=${listPage("batches", { station: id })}>${t("station.batches")}</a>
      <a href=${listPage("late", { station: id })}>${t("station.late")}</a>
    </p>
  </section>`;
}

const Outcomes = memo(AllOutcomes);

/** How it stands, and since when. @param {StationOutcome[]} outcomes newest first */
function lately(outcomes) {
  if (outcomes.length === 0) return t("station.no.outcomes");
  const bad = outcomes.filter(({ status }) => BAD.has(status)).length;
  const well = outcomes.findIndex(({ status }) => !BAD.has(status));
  const streak = well < 0 ? outcomes.length : well;
  if (streak > 0) {
    const since = moment(outcomes[streak - 1].closed_at);
    return t(well < 0 ? "station.always" : "station.since", { n: count(streak), since, bad: count(bad), of: count(outcomes.length) });
  }
  const last = outcomes.find(({ status }) => BAD.has(status));
  return t(last ? "station.last" : "station.fine", { bad: count(bad), of: count(outcomes.length), last: moment(last?.closed_at) });
}

/** The outcomes, oldest first, each with a bar as high as its callback took. @param {{outcomes: StationOutcome[], marked: string}} props */
function Strip({ outcomes, marked }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const newest = outcomes[0].batch_id;
  useLayoutEffect(() => {
    const scroll = /** @type {HTMLElement} */ (place.current);
    const cell = /** @type {HTMLElement | null} */ (scroll.querySelector("[aria-current]"));
    scroll.scrollLeft = cell ? cell.offsetLeft - scroll.clientWidth / 2 : scroll.scrollWidth;
  }, [newest, marked, outcomes.length]);
  const longest = Math.max(0, ...outcomes.map((one) => one.duration ?? 0));
  const oldest = outcomes[outcomes.length - 1];
  return html`<p class="quiet" id="strip">
      ${t("station.span", { first: moment(oldest.closed_at), last: moment(outcomes[0].closed_at) })}${" "}
      ${longest > 0 ? t("station.strip", { longest: duration(longest) }) : t("station.strip.none")}
    </p>
    <div class="scroll" role="region" tabindex="0" aria-labelledby="outcomes" aria-describedby="strip" ref=${place}>
    <ol class=${longest > 0 ? "strip" : "strip is-flat"}>
      ${[...outcomes].reverse().map((one) => html`<${Cell} key=${one.batch_id} one=${one} longest=${longest} marked=${one.batch_id === marked} />`)}
    </ol>
  </div>`;
}

/** @param {{one: StationOutcome, longest: number, marked: boolean}} props */
function Cell({ one, longest, marked }) {
  const height = one.duration === null || longest === 0 ? 0 : Math.max((100 * one.duration) / longest, 2);
  const took = one.duration === null ? "" : `, ${duration(one.duration)}`;
  const label = `${moment(one.closed_at)}, ${t(`state.${one.status}`)}${took}, ${one.batch_id}`;
  return html`<li>
    <a href=${pageOf(one.batch_id)} title=${label} aria-label=${label} aria-current=${marked ? "true" : undefined}>
      <span class="rod" aria-hidden="true"><i class=${`bar is-${one.status}`} style=${{ height: `${height}%` }}></i></span>
      <span class=${`cell is-${one.status}`} aria-hidden="true">${one.status === "result" ? "·" : t(`heatmap.letter.${one.status}`)}</span>
    </a>
  </li>`;
}

/** The batches in which there was no result of it. @param {{outcomes: StationOutcome[]}} props */
function BadOutcomes({ outcomes }) {
  const [shown, setShown] = useState(FIRST);
  const bad = outcomes.filter(({ status }) => BAD.has(status));
  if (bad.length === 0) return null;
  return html`<section>
    <div class="title">
      <h3 id="misses">${t("station.misses")}</h3>
      <${Export} name="misses" heading=${t("station.misses")} rows=${bad} />
    </div>
    <div class="scroll" role="region" tabindex="0" aria-labelledby="misses">
      <table class="cards">
        <thead>
          <tr>
            <th scope="col">${t("recent.batch")}</th>
            <th scope="col">${t("recent.closed")}</th>
            <th scope="col">${t("late.status")}</th>
            <th scope="col" class="number">${t("recent.duration")}</th>
            <th scope="col">${t("letters.error")}</th>
          </tr>
        </thead>
        <tbody>
          ${bad.slice(0, shown).map(
            (one) => html`<tr key=${one.batch_id}>
              <th scope="row" class="batch"><${BatchId} id=${one.batch_id} /></th>
              <td class="time">${moment(one.closed_at)}</td>
              <td class=${`word is-${one.status}`}>${t(`state.${one.status}`)}</td>
              <td class="number">${duration(one.duration)}</td>
              <td class="whole said">${one.error ?? t("none")}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <${More} hidden=${bad.length - shown} step=${STEP} onMore=${() => setShown(shown + STEP)} />
  </section>`;
}

const Misses = memo(BadOutcomes);

/** @param {{id: string, page: any, error: any}} props */
function Letters({ id, page, error }) {
  const letters = /** @type {import("./types.js").Letter[]} */ (page?.letters ?? []);
  return html`<section aria-labelledby="station-letters">
    <h3 id="station-letters"><a href=${listPage("dead-letters", { station: id })}>${t("letters.heading")}</a></h3>
    ${!page && html`<${Absent} error=${error} path="/dead-letters" />`}
    ${page && letters.length === 0 && html`<p class="quiet">${t(page.next ? "station.letters.unknown" : "letters.none")}</p>`}
    <ul class="rows">
      ${letters.map(
        (letter) => html`<li key=${letter.id} class="step">
          <time>${moment(letter.failed_at)}</time><span>${letter.reason}</span><span class="what">${letter.error}</span>
        </li>`,
      )}
    </ul>
  </section>`;
}

/** @param {{name: string, value: any}} props */
function Shown({ name, value }) {
  const text = JSON.stringify(value, null, 2);
  const is = value !== null && text !== "{}";
  return html`<section>
    <div class="title">
      <h3 id=${`station-${name}`}>${t(`station.${name}`)}</h3>
      ${is && html`<${CopyButton} text=${text} />`}
    </div>
    ${is
      ? html`<pre tabindex="0" role="region" aria-labelledby=${`station-${name}`}>${text}</pre>`
      : html`<p class="quiet">${t(`station.${name}.none`)}</p>`}
  </section>`;
}

const Json = memo(Shown);

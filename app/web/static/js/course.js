// The course of a batch: what happened when, a bar for each station's callback, and what was published.

import { ApiError, request } from "./api.js";
import { Export } from "./export.js";
import { count, duration } from "./format.js";
import { html, memo, useEffect, useState } from "./html.js";
import { explain, t } from "./i18n.js";
import { More, StationId } from "./parts.js";
import { batchPath } from "./places.js";

/** @typedef {import("./types.js").CourseEvent} CourseEvent */
/** @typedef {import("./types.js").Timeline} TimelineAnswer */
/** @typedef {import("./types.js").Output} Output */

const FIRST = 50; // stations whose bars are drawn at first
const AGAIN = 2000; // milliseconds until an open batch is asked for again

/** @param {{batch: import("./types.js").BatchDetail, language: string}} props */
function BatchCourse({ batch }) {
  const open = batch.status === "open";
  const [timeline, error] = useAnswer(`${batchPath(batch.batch_id)}/timeline`, batch.revision, open);
  return html`<section class="course" aria-labelledby="course">
    <div class="title">
      <h3 id="course">${t("course.heading")}</h3>
      ${timeline && html`<${Export} name="course" heading=${t("course.heading")} rows=${timeline.events} />`}
    </div>
    ${!timeline && html`<p class="quiet">${error ? explain(error) : t("loading")}</p>`}
    ${timeline && html`<${Sources} sources=${timeline.sources} /><${Steps} timeline=${timeline} batch=${batch} />`}
    ${timeline && html`<${Bars} timeline=${timeline} batch=${batch} />`}
    ${!open && (timeline || error) && html`<${Published} key=${batch.revision} id=${batch.batch_id} />`}
  </section>`;
}

/**
 * An answer of the API, asked for anew when the batch is revised, and again and again while it is open.
 * @param {string} path @param {number} revision @param {boolean} open
 * @returns {[any, ApiError | null]}
 */
function useAnswer(path, revision, open) {
  const [known, setKnown] = useState(/** @type {{value: any, error: ApiError | null}} */ ({ value: null, error: null }));
  useEffect(() => {
    let wanted = true;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const ask = async () => {
      try {
        const value = JSON.parse(await request(path));
        if (wanted) setKnown({ value, error: null });
      } catch (reason) {
        const error = reason instanceof ApiError ? reason : new ApiError(0, "bad-answer", String(reason));
        if (wanted) setKnown((/** @type {any} */ before) => ({ ...before, error }));
      }
      if (wanted && open) timer = setTimeout(ask, AGAIN);
    };
    ask();
    return () => {
      wanted = false;
      clearTimeout(timer);
    };
  }, [path, revision, open]);
  return [known.value, known.error];
}

/** @param {{sources: import("./types.js").SourcePlace[]}} props */
function Sources({ sources }) {
  return html`<ul class="sources quiet">
    ${sources.map(
      (one) => html`<li key=${`${one.topic} ${one.partition} ${one.offset}`}>
        ${t("course.source", { topic: one.topic, partition: one.partition, offset: one.offset, time: exact(one.timestamp) })}
      </li>`,
    )}
  </ul>`;
}

/** All that happened but the arrivals of stations. @param {{timeline: TimelineAnswer, batch: import("./types.js").BatchRow}} props */
function Steps({ timeline, batch }) {
  const steps = timeline.events.filter((one) => one.event !== "station");
  return html`<ol class="steps">
    ${steps.map((one, place) => html`<li key=${place} class=${`step is-${one.event}`}>
      <time>${exact(one.at)}</time>
      <span class="quiet">+${duration(one.at - batch.opened_at)}</span>
      <span class="what">${told(one)}</span>
    </li>`)}
  </ol>`;
}

/** @param {CourseEvent} event */
function told(event) {
  const values = {
    station: event.station_id ?? "",
    status: event.status === null ? "" : t(`course.status.${event.status}`),
    by: event.by ?? "",
    revision: event.revision ?? 1,
    place: event.offset === null ? (event.topic ?? "") : `${event.topic}[${event.partition}] @ ${event.offset}`,
  };
  if (event.event === "late" && event.station_id === null) return t("course.late.message");
  return t(`course.${event.event}`, values);
}

/** @param {{timeline: TimelineAnswer, batch: import("./types.js").BatchRow}} props */
function Bars({ timeline, batch }) {
  const [shown, setShown] = useState(FIRST);
  const stations = timeline.events.filter((one) => one.station_id !== null);
  if (stations.length === 0) return null;
  const start = Math.min(batch.opened_at, ...stations.map((one) => one.started_at ?? one.at));
  const end = Math.max(batch.closed_at ?? batch.deadline, ...stations.map((one) => one.at), start + 0.001);
  const share = (/** @type {number} */ at) => (100 * (at - start)) / (end - start);
  return html`<div class="bars-of">
    <h4 id="bars">${t("course.bars", { end: duration(end - start) })}</h4>
    <ul class="bars" aria-labelledby="bars">
      ${stations.slice(0, shown).map((one) => {
        const from = share(one.started_at ?? one.at);
        const ran = one.started_at === null ? t("course.unknown") : duration(one.at - one.started_at);
        return html`<li key=${`${one.event} ${one.station_id} ${one.at}`}>
          <span class="bar-name"><${StationId} id=${one.station_id} /></span>
          <span class="track" aria-hidden="true"><i
            class=${`bar is-${one.event === "late" ? "late" : one.status}`}
            style=${{ left: `${from}%`, width: `${Math.max(share(one.at) - from, 0.4)}%` }}
          ></i></span>
          <span class="quiet">${t(`course.status.${one.status}`)}, ${ran}</span>
        </li>`;
      })}
    </ul>
    <${More} hidden=${stations.length - shown} step=${FIRST * 10} onMore=${() => setShown(shown + FIRST * 10)} />
  </div>`;
}

/** What was published, once somebody wants to see it. @param {{id: string}} props */
function Published({ id }) {
  const [outputs, setOutputs] = useState(/** @type {Output[] | null} */ (null));
  const [said, setSaid] = useState("");
  const show = async () => {
    setSaid(t("loading"));
    try {
      setOutputs(JSON.parse(await request(`${batchPath(id)}/output`)).outputs);
      setSaid("");
    } catch (error) {
      setSaid(error instanceof ApiError ? explain(error) : String(error));
    }
  };
  return html`<div class="published">
    <h4>${t("output.heading")}</h4>
    ${outputs === null && html`<p><button type="button" onClick=${show}>${t("output.show")}</button></p>`}
    <p role="status" class="quiet">${said}</p>
    ${outputs?.length === 0 && html`<p class="quiet">${t("output.none")}</p>`}
    ${outputs?.map((one) => html`<${Payload} key=${`${one.revision} ${one.part}`} output=${one} />`)}
  </div>`;
}

/** @param {{output: Output}} props */
function Payload({ output }) {
  const [copied, setCopied] = useState(false);
  const text = typeof output.value === "string" ? output.value : JSON.stringify(output.value, null, 2);
  const place = `${output.topic}[${output.partition}] @ ${output.offset}`;
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    setCopied(true);
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
    link.download = `${output.topic}-${output.partition}-${output.offset}.json`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return html`<figure class="payload">
    <figcaption>
      <span>${t("output.place", { place, revision: output.revision, part: output.part, parts: output.parts, size: count(text.length) })}</span>
      ${navigator.clipboard && html`<button type="button" onClick=${copy}>${t(copied ? "output.copied" : "output.copy")}</button>`}
      <button type="button" onClick=${save}>${t("output.save")}</button>
    </figcaption>
    <pre tabindex="0" role="region" aria-label=${place}>${text}</pre>
  </figure>`;
}

/** A time of day to the millisecond. @param {number | null} seconds */
function exact(seconds) {
  if (seconds === null) return t("none");
  const date = new Date(seconds * 1000);
  return `${date.toLocaleTimeString("sv-SE")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

export const Course = memo(BatchCourse);

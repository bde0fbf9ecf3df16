// Small things that many views show.

import { count, momentOfId } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { explain, has, t } from "./i18n.js";
import { pageOf, stationPage } from "./places.js";

/**
 * A batch id behind the time that it ends with: `10:00:00 · …437`. Its start is cut off where there is no room; all of it
 * is under the mouse, and what is copied is the id alone.
 * @param {{id: string}} props
 */
export function BatchId({ id }) {
  const time = momentOfId(id);
  return html`<a class="id" href=${pageOf(id)} title=${id}>
    ${time && html`<span class="id-time">${time} · </span>`}<span class="id-text"><bdi dir="ltr">${id}</bdi></span>
  </a>`;
}

/** A station's id, which leads to its page. @param {{id: string | null}} props */
export function StationId({ id }) {
  return id === null ? t("none") : html`<a class="to-station" href=${stationPage(id)} title=${id}>${id}</a>`;
}

// Such as plain text fonts have: no emoji, which some systems draw as an empty box.
const SIGNS = /** @type {Record<string, string>} */ ({
  all: "✓",
  timeout: "◷",
  ratio: "◐",
  operator: "☞",
  revision: "↻",
  discarded: "✕",
  open: "…",
});

/** How a batch was closed, as one word. @param {{status: string, completed_by: string | null}} batch */
export function closingOf(batch) {
  if (batch.status === "discarded") return "discarded";
  if (batch.status === "open") return "open";
  return batch.completed_by ?? "all";
}

/** @param {string} closing */
export function closingText(closing) {
  return has(`closing.${closing}`) ? t(`closing.${closing}`) : closing;
}

/** How a batch was closed, with its sign. @param {{batch: import("./types.js").BatchRow}} props */
export function Closing({ batch }) {
  const closing = closingOf(batch);
  return html`<span class=${`closing closing-${closing in SIGNS ? closing : "other"}`}>
    <span class="sign" aria-hidden="true">${SIGNS[closing] ?? "•"}</span>${closingText(closing)}
    ${batch.revision > 1 && html`<small>${t("revision.n", { n: batch.revision })}</small>`}
  </span>`;
}

/**
 * The shares of a batch's stations: results, empty, failed, and what is still to come.
 * @param {{batch: import("./types.js").BatchRow}} props
 */
export function Progress({ batch }) {
  const { expected_count: expected, arrived_count: arrived, failed_count: failed, empty_count: empty } = batch;
  const width = (/** @type {number} */ part) => `${expected > 0 ? (100 * part) / expected : 0}%`;
  return html`<div
    class="progress"
    role="progressbar"
    aria-label=${t("flight.progress", { id: batch.batch_id, arrived, expected })}
    aria-valuemin="0"
    aria-valuemax=${expected}
    aria-valuenow=${arrived}
  >
    <i class="is-result" style=${{ width: width(arrived - failed - empty) }}></i>
    <i class="is-empty" style=${{ width: width(empty) }}></i>
    <i class="is-failed" style=${{ width: width(failed) }}></i>
  </div>`;
}

/**
 * A cell with a number that is bad when it is not 0. `name` stands before it where a phone shows the table as cards.
 * @param {{name: string, n: number}} props
 */
export function Tally({ name, n }) {
  return html`<td class=${`number ${n > 0 ? "is-many" : "is-zero"}`} data-name=${name}>${count(n)}</td>`;
}

/**
 * Buttons of which one is pressed.
 * @param {{label: string, choices: {value: string, text: any}[], value: string, onChoose: (value: string) => void}} props
 */
export function Choice({ label, choices, value, onChoose }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${choices.map(
      (choice) =>
        html`<button
          key=${choice.value}
          type="button"
          aria-pressed=${choice.value === value}
          onClick=${() => onChoose(choice.value)}
        >
          ${choice.text}
        </button>`,
    )}
  </div>`;
}

/**
 * A button for the rows that are not shown yet.
 * @param {{hidden: number, step?: number, onMore: () => void}} props `hidden`: how many; Infinity when nobody knows
 */
export function More({ hidden, step = Infinity, onMore }) {
  if (hidden <= 0) return null;
  const text = hidden < Infinity ? t("more", { n: Math.min(hidden, step) }) : t("more.unknown");
  return html`<p class="more"><button type="button" onClick=${onMore}>${text}</button></p>`;
}

/** What stands in the place of an answer that is not there yet, or has failed. @param {{error: any, path: string}} props */
export function Absent({ error, path }) {
  if (!error || error.status === 0 || error.status === 401) return html`<p class="quiet">${t("loading")}</p>`;
  return html`<p class="error">${t("alert.failed", { path, message: explain(error) })}</p>`;
}

/**
 * A state that starts anew with each key. No effect sets it back: one that runs after the first painting would take
 * away what a reader has typed by then.
 * @template Value
 * @param {string} key
 * @param {() => Value} first
 * @returns {[Value, (value: Value) => void]}
 */
export function useStateOf(key, first) {
  const [held, hold] = useState(() => ({ key, value: first() }));
  const now = held.key === key ? held : { key, value: first() };
  if (now !== held) hold(now);
  return [now.value, (value) => hold({ key, value })];
}

/**
 * Renders again so many times a second, for what a clock moves.
 * @param {number} milliseconds
 */
export function useTick(milliseconds) {
  const [, turn] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) turn((/** @type {number} */ ticks) => ticks + 1);
    }, milliseconds);
    return () => clearInterval(timer);
  }, [milliseconds]);
}

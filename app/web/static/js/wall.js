// The page on a wall, `?wall=1`: what is to be read from four metres, and nothing to press.

import { USUAL_RANGE } from "./choices.js";
import { Figures } from "./figures.js";
import { Flight } from "./flight.js";
import { clock } from "./format.js";
import { Access, Alerts, Health } from "./header.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { useTick } from "./parts.js";
import { Recent } from "./recent.js";
import { troublesOf } from "./troubles.js";

const FLYING = 3; // rows that a screen has room for
const CLOSED = 5;

/** @param {{state: import("./store.js").State}} props */
export function Wall({ state }) {
  const { data, errors, language } = state;
  const troubles = troublesOf(state);
  return html`<header class="top">
      <h1>${t("title")}</h1>
      <${Health} state=${state} />
      <${Access} state=${state} />
      <${Clock} />
    </header>
    <${Alerts} state=${state} />
    <main id="main">
      <p class="troubles" role="status">
        ${troubles.length === 0 && data.stats && html`<span class="trouble-good">✓ ${t("trouble.none")}</span>`}
        ${troubles.map(({ level, text }) => html`<span key=${text} class=${`trouble-${level}`}>${level === "bad" ? "◆" : "■"} ${text}</span>`)}
      </p>
      ${data.open || errors.open
        ? html`<${Figures} stats=${data.stats} sources=${data.sources} range=${USUAL_RANGE} error=${errors.stats} language=${language} />
          <div class="board">
            <${Flight} state=${{ ...state, data: { ...data, open: firstOf(data.open, FLYING, soonest) } }} />
            <${Recent} closed=${firstOf(data.closed, CLOSED)} error=${errors.closed} limit=${CLOSED} language=${language} />
          </div>`
        : html`<p class="quiet">${t("loading")}</p>`}
    </main>`;
}

/** @param {import("./types.js").BatchRow} one @param {import("./types.js").BatchRow} other */
const soonest = (one, other) => one.deadline - other.deadline;

/**
 * @param {import("./types.js").BatchList | undefined} list @param {number} most
 * @param {(one: any, other: any) => number} [order]
 */
function firstOf(list, most, order = () => 0) {
  return list && { ...list, batches: [...list.batches].sort(order).slice(0, most), next: null };
}

function Clock() {
  useTick(1000);
  return html`<time class="wall-clock">${clock(Date.now() / 1000)}</time>`;
}

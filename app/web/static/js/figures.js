// The key figures, to be read from two metres.

import { choose, RANGES, USUAL_RANGE } from "./choices.js";
import * as clock from "./clock.js";
import { count, duration, share, short } from "./format.js";
import { html, memo } from "./html.js";
import { t } from "./i18n.js";
import { Absent, Choice, useTick } from "./parts.js";

/** @typedef {import("./types.js").Source} Source */

/** @param {string} range */
function takeRange(range) {
  choose("range", range === USUAL_RANGE ? "" : range);
}

/**
 * @param {object} props
 * @param {import("./types.js").Stats} [props.stats]
 * @param {import("./types.js").SourceList} [props.sources]
 * @param {string} props.range
 * @param {any} props.error
 * @param {string} props.language
 */
function KeyFigures({ stats, sources, range, error }) {
  if (!stats) return html`<section class="figures" aria-label=${t("figures.label")}><${Absent} error=${error} path="/stats" /></section>`;
  const by = stats.completed_by;
  const closed = Object.values(by).reduce((sum, n) => sum + n, 0);
  const timeouts = by.timeout ?? 0;
  const closedThen = `#/batches?status=closed&since=${range}`;
  const within = t(`range.${range}`);
  const ages = stats.open_batches > 0 ? t("figures.oldest", { age: duration(stats.oldest_open_age) }) : "";
  const times = t("figures.p99", { p99: duration(stats.duration.p99), timeout: duration(stats.timeout) });
  const timeoutShare = t("figures.timeouts.share", { share: share(timeouts, closed), n: count(closed) });
  return html`<section class="figures" aria-label=${t("figures.label")}>
    <div class="ranges">
      <${Choice}
        label=${t("range.label")}
        choices=${RANGES.map((value) => ({ value, text: t(`range.${value}`) }))}
        value=${range}
        onChoose=${takeRange}
      />
    </div>
    <dl>
      <${Figure} name="open" value=${short(stats.open_batches)} more=${ages} href="#/batches?status=open" />
      <${Figure} name="throughput" value=${short(stats.throughput)} more=${t("figures.minute")} href="#/batches?status=closed&since=1m" />
      <${Figure} name="p50" value=${duration(stats.duration.p50)} more=${times} href=${closedThen} />
      <${Figure}
        name="timeouts"
        value=${short(timeouts)}
        more=${timeoutShare}
        level=${timeouts > 0 ? "fair" : ""}
        href=${`${closedThen}&completed_by=timeout`}
      />
      <${Figure} name="late" value=${short(stats.late)} more=${within} level=${(stats.late ?? 0) > 0 ? "fair" : ""} href=${`#/late?since=${range}`} />
      <${Figure}
        name="letters"
        value=${short(stats.dead_letters)}
        more=${t("figures.letters.more", { range: within, discarded: count(stats.discarded) })}
        level=${(stats.dead_letters ?? 0) > 0 ? "bad" : ""}
        href=${`#/dead-letters?since=${range}`}
      />
      <${Figure} name="lag" value=${short(lagOf(sources))} more=${t("figures.lag.unit", { n: count(sources?.internal_lag) })} href="#/partitions" />
    </dl>
    ${sources && html`<${Sources} sources=${sources.sources} />`}
  </section>`;
}

/** The messages of all source topics that are not done; null where one of them is not known. @param {import("./types.js").SourceList} [list] */
function lagOf(list) {
  const lags = list?.sources.map(({ lag }) => lag) ?? [null];
  return lags.includes(null) ? null : lags.reduce((sum, lag) => (sum ?? 0) + (lag ?? 0), 0);
}

/** When something came last, topic by topic. @param {{sources: Source[]}} props */
function Sources({ sources }) {
  useTick(1000); // the answer stays the same while nothing comes, but the time goes on
  return html`<ul class="sources" aria-label=${t("sources.label")}>
    ${sources.map((source) => html`<li key=${source.topic} class=${source.overdue ? "is-overdue" : "quiet"}>${told(source)}</li>`)}
  </ul>`;
}

/** @param {Source} source */
function told({ topic, last_message_at: last, usual_gap: gap, overdue }) {
  if (last === null) return t("sources.never", { topic });
  const said = { topic, age: duration(Math.max(0, clock.now() - last)), gap: duration(gap) };
  return t(overdue ? "sources.overdue" : "sources.last", said);
}

/** @param {{name: string, value: string, more: string, level?: string, href: string}} props what it counts is behind the link */
function Figure({ name, value, more, level = "", href }) {
  const [, number, unit] = /** @type {RegExpMatchArray} */ (value.match(/^(\S*)(.*)$/));
  return html`<div class="figure" data-level=${level} data-name=${name}>
    <dt>${t(`figures.${name}`)}</dt>
    <dd><a href=${href} aria-label=${`${t(`figures.${name}`)}: ${value}`}><b>${number}</b>${unit && html`<span class="unit">${unit}</span>`}</a></dd>
    <dd class="quiet">${more}</dd>
  </div>`;
}

export const Figures = memo(KeyFigures);

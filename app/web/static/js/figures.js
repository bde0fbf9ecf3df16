// The key figures, to be read from two metres.

import { count, duration, share, short } from "./format.js";
import { html, memo } from "./html.js";
import { t } from "./i18n.js";
import { Absent } from "./parts.js";

/**
 * @param {{stats?: import("./types.js").Stats, history?: import("./types.js").History, error: any, language: string}} props
 */
function KeyFigures({ stats, history, error }) {
  if (!stats) return html`<section class="figures" aria-label=${t("figures.label")}><${Absent} error=${error} path="/stats" /></section>`;
  const by = stats.completed_by;
  const closed = Object.values(by).reduce((sum, n) => sum + n, 0);
  const timeouts = by.timeout ?? 0;
  const lag = history?.samples.at(-1)?.lag;
  const ages = stats.open_batches > 0 ? t("figures.oldest", { age: duration(stats.oldest_open_age) }) : "";
  const times = t("figures.p99", { p99: duration(stats.duration.p99), timeout: duration(stats.timeout) });
  const timeoutShare = t("figures.timeouts.share", { share: share(timeouts, closed), n: count(closed) });
  return html`<section class="figures" aria-label=${t("figures.label")}>
    <dl>
      <${Figure} name="open" value=${short(stats.open_batches)} more=${ages} />
      <${Figure} name="throughput" value=${short(stats.throughput)} more=${t("figures.minute")} />
      <${Figure} name="p50" value=${duration(stats.duration.p50)} more=${times} />
      <${Figure} name="timeouts" value=${short(timeouts)} more=${timeoutShare} level=${timeouts > 0 ? "fair" : ""} />
      <${Figure} name="late" value=${short(stats.late)} more=${t("figures.hour")} level=${(stats.late ?? 0) > 0 ? "fair" : ""} />
      <${Figure}
        name="letters"
        value=${short(stats.dead_letters)}
        more=${t("figures.letters.more", { discarded: count(stats.discarded) })}
        level=${(stats.dead_letters ?? 0) > 0 ? "bad" : ""}
      />
      <${Figure} name="lag" value=${short(lag)} more=${t("figures.lag.unit")} />
    </dl>
  </section>`;
}

/** @param {{name: string, value: string, more: string, level?: string}} props */
function Figure({ name, value, more, level = "" }) {
  const [, number, unit] = /** @type {RegExpMatchArray} */ (value.match(/^(\S*)(.*)$/));
  return html`<div class="figure" data-level=${level} data-name=${name}>
    <dt>${t(`figures.${name}`)}</dt>
    <dd><b>${number}</b>${unit && html`<span class="unit">${unit}</span>`}</dd>
    <dd class="quiet">${more}</dd>
  </div>`;
}

export const Figures = memo(KeyFigures);

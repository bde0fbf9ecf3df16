// What is wrong, in a few words each, the worst first: for the tab, and for a wall.

import { silentWorkers, unreadyWorkers } from "./header.js";
import { count } from "./format.js";
import { has, t } from "./i18n.js";

/** @typedef {{level: "bad" | "fair", text: string}} Trouble */

/** @param {import("./store.js").State} state @returns {Trouble[]} */
export function troublesOf(state) {
  if (state.lost) return [{ level: "bad", text: t("health.lost") }];
  const { stats, cluster } = state.data;
  const workers = /** @type {import("./types.js").Worker[]} */ (cluster?.workers ?? []);
  const differing = workers.filter(({ differs = [] }) => differs.length > 0).length + (cluster?.clocks_apart?.length ?? 0);
  const found = [
    said("bad", "health.silent", silentWorkers(state).length),
    said("bad", "trouble.differ", differing),
    said("bad", "trouble.letters", stats?.dead_letters),
    said("fair", "health.recovering", unreadyWorkers(state).length),
    said("fair", "trouble.partial", partial(stats?.completed_by)),
    said("fair", "trouble.late", stats?.late),
  ];
  return found.flat();
}

/** How many batches closed without all of their stations, and nobody wanted it. @param {Record<string, number>} [by] rule */
function partial(by = {}) {
  return (by.timeout ?? 0) + (by.ratio ?? 0);
}

/** @param {"bad" | "fair"} level @param {string} key @param {number | null | undefined} n @returns {Trouble[]} */
function said(level, key, n) {
  if (!n) return [];
  return [{ level, text: n === 1 && has(`${key}.one`) ? t(`${key}.one`) : t(key, { n: count(n) }) }];
}

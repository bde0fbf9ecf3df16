// What happened in the time that the plots show: starts of workers, rebalances, operators' actions.

import * as clock from "./clock.js";
import { t } from "./i18n.js";
import { pageOf } from "./places.js";

/** @typedef {import("./types.js").BatchRow} BatchRow */
/** @typedef {import("./types.js").ClusterState} ClusterState */
/** @typedef {{at: number, kind: "start" | "rebalance" | "operator", text: string, href: string}} Mark */

export const KINDS = ["start", "rebalance", "operator"];
const KEPT = 3600; // seconds

/** No worker remembers its rebalances: these were seen while this page was open. @type {{at: number, urls: string[]}[]} */
let rebalances = [];
/** @type {{answer: ClusterState | null, owners: Map<string, string>}} */
let last = { answer: null, owners: new Map() };

/**
 * Note that partitions have another owner, a worker has come or gone, or is recovering.
 * @param {ClusterState | undefined} answer of `/cluster`
 */
export function watch(answer) {
  if (!answer || answer === last.answer) return;
  const owners = new Map(answer.workers.map(({ url, partitions, ready }) => [url, `${JSON.stringify(partitions)} ${ready}`]));
  const urls = [...new Set([...owners.keys(), ...last.owners.keys()])].filter((url) => owners.get(url) !== last.owners.get(url));
  const at = clock.now();
  const going = rebalances.at(-1);
  if (last.answer && urls.length > 0) {
    // One that takes its time is told again and again.
    if (going && at - going.at < 30) going.urls = [...new Set([...going.urls, ...urls])];
    else rebalances.push({ at, urls });
  }
  rebalances = rebalances.filter((one) => one.at > at - KEPT);
  last = { answer, owners };
}

/**
 * All of them, newest first.
 * @param {ClusterState | undefined} cluster @param {BatchRow[]} operated batches that an operator has closed
 * @returns {Mark[]}
 */
export function marksOf(cluster, operated) {
  const starts = (cluster?.workers ?? []).flatMap(({ url, started_at: at }) =>
    at == null ? [] : [mark(at, "start", t("marks.start", { url }), "#/workers")],
  );
  const moves = rebalances.map(({ at, urls }) => mark(at, "rebalance", t("marks.rebalance", { urls: urls.join(", ") }), "#/workers"));
  const actions = operated.map(({ batch_id: id, closed_at: at, status }) =>
    mark(at ?? 0, "operator", t(status === "discarded" ? "marks.discarded" : "marks.completed", { id }), pageOf(id)),
  );
  return [...starts, ...moves, ...actions].sort((one, other) => other.at - one.at);
}

/** @param {number} at @param {Mark["kind"]} kind @param {string} text @param {string} href @returns {Mark} */
function mark(at, kind, text, href) {
  return { at, kind, text, href };
}

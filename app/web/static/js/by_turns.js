// What is asked for seldom is asked for at once when the page opens, and then by turns: each question looks into many
// batches, and a worker that has to answer all of them at the same moment keeps its own batches waiting.

/**
 * @typedef {object} Due
 * @property {number} due when it was due; 0: it is wanted at once
 * @property {number} every milliseconds between two questions
 */

/**
 * What to ask for now: all that is asked for each time or is wanted at once, and of the rest the half that has waited
 * for longest. So what has come together once is asked for one after the other soon.
 * @template {{memory: Due}} T
 * @param {T[]} due
 * @param {number} period milliseconds between two times
 * @returns {T[]}
 */
export function byTurns(due, period) {
  const atOnce = due.filter(({ memory }) => memory.due === 0 || memory.every <= period);
  const waiting = due.filter((one) => !atOnce.includes(one)).sort((one, other) => one.memory.due - other.memory.due);
  return [...atOnce, ...waiting.slice(0, Math.ceil(waiting.length / 2))];
}

// What the API tells of a station, read so that no digit of its latest record is lost.

export const OUTCOMES = [50, 200, 1000]; // that a reader may choose from

/** How many outcomes a station's page shows. @param {string} query the page's filters @returns {number} */
export function outcomesAsked(query) {
  const wanted = Number(new URLSearchParams(query).get("batches"));
  return OUTCOMES.includes(wanted) ? wanted : OUTCOMES[0];
}

/** @param {string} text @returns {any} */
export function readStation(text) {
  const whole = JSON.parse(text, exactly);
  return { ...JSON.parse(text), last_record: whole.last_record, context: whole.context };
}

/**
 * Keep the digits of a number, where the browser can: 19 of them are more than its numbers have.
 * @param {string} _ @param {any} value @param {{source: string}} [found]
 */
function exactly(_, value, found) {
  const json = /** @type {any} */ (JSON);
  if (typeof value !== "number" || !found || !json.rawJSON || String(value) === found.source) return value;
  return json.rawJSON(found.source);
}

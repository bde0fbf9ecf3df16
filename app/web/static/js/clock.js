// The workers' clock, as far as their answers tell it: deadlines are theirs, and this device's clock may be wrong.
//
// `Date` has whole seconds and may be a second old when it is sent, so one answer only says between which bounds the
// clocks differ. The bounds of many answers are narrow; while "not at all" is between them, that is what is taken.

const REMEMBERED = 60;
const COARSE = 2000; // milliseconds that a `Date` may be behind

/** @type {{least: number, most: number}[]} */
const bounds = [];

/**
 * Take in the `Date` of an answer.
 * @param {string | null} date
 * @param {number} sentAt this device's time in milliseconds when the request left
 * @param {number} receivedAt and when the answer had come
 */
export function observe(date, sentAt, receivedAt) {
  const theirs = date === null ? NaN : Date.parse(date);
  if (Number.isNaN(theirs)) return;
  bounds.push({ least: theirs - receivedAt, most: theirs + COARSE - sentAt });
  if (bounds.length > REMEMBERED) bounds.shift();
}

/** Milliseconds that the workers' clock is ahead of this one. */
export function offset() {
  if (bounds.length === 0) return 0;
  const least = Math.max(...bounds.map((bound) => bound.least));
  const most = Math.min(...bounds.map((bound) => bound.most));
  if (least > 0) return least;
  return most < 0 ? most : 0;
}

/** Unix seconds at the workers. */
export function now() {
  return (Date.now() + offset()) / 1000;
}

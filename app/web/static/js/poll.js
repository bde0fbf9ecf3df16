// Asking again and again: once a second while the page is seen, less when it fails, and never twice at a time.

import { ApiError, request } from "./api.js";
import { byTurns } from "./by_turns.js";
import { get, set } from "./store.js";

const PERIOD = 1000; // milliseconds
const LONGEST = 30_000;

/**
 * What is asked for.
 * @typedef {object} Resource
 * @property {string} name its key in `State.data`
 * @property {(state: import("./store.js").State) => string | null} path null when it is not needed now
 * @property {(text: string) => any} [read] the answer's text as an object; JSON without it
 * @property {(answer: any) => number} [every] milliseconds from one answer to the next request; PERIOD without it
 */

/** @typedef {{path: string, text: string, due: number, every: number, failures: number}} Memory */

/** @type {Map<string, Memory>} */
const memories = new Map();
let failures = 0;
let paused = false;
/** Whether the worker has let us in. Until then there is one request at a time: it counts how often it had to refuse. */
let admitted = false;
/** @type {(() => void) | null} */
let wake = null;
let hurried = false;

/** Ask at once for everything that the page needs now: the page has changed, or an action has been sent. */
export function hurry() {
  hurried = true;
  for (const memory of memories.values()) memory.due = 0;
  wake?.();
}

/** Stop asking until `resume`: the worker wants a token. */
export function pause() {
  paused = true;
}

/** Go on after `pause`. */
export function resume() {
  paused = false;
  failures = 0;
  hurry();
}

/**
 * Ask for ever.
 * @param {Resource[]} resources the first is always needed: it is what is asked for until the worker has let us in
 */
export async function poll(resources) {
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) hurry();
  });
  window.addEventListener("online", hurry);
  for (;;) {
    if (!document.hidden && !paused) await turn(resources);
    if (!hurried) await sleep(Math.min(PERIOD * 2 ** failures, LONGEST));
    hurried = false;
  }
}

/** @param {number} milliseconds */
function sleep(milliseconds) {
  return new Promise((/** @type {(value?: unknown) => void} */ done) => {
    const timer = setTimeout(done, milliseconds);
    wake = () => {
      clearTimeout(timer);
      done();
    };
  });
}

/** @param {Resource[]} resources */
async function turn(resources) {
  const before = get();
  const due = [];
  for (const resource of admitted ? resources : resources.slice(0, 1)) {
    const path = resource.path(before);
    if (path === null) continue;
    const memory = memoryOf(resource.name, path);
    if (memory.due <= Date.now()) due.push({ resource, memory });
  }
  if (due.length === 0) return;
  const outcomes = await Promise.all(byTurns(due, PERIOD).map(({ resource, memory }) => ask(resource, memory)));
  const now = get();
  const data = { ...now.data };
  const errors = { ...now.errors };
  for (const { name, path, error, value, changed } of outcomes) {
    if (resources.find((resource) => resource.name === name)?.path(now) !== path) continue; // not wanted any more
    errors[name] = error;
    if (changed) data[name] = value;
  }
  const lost = outcomes.every(({ error }) => error !== null && isLost(error));
  failures = lost ? failures + 1 : 0;
  const refused = outcomes.find(({ error }) => error?.status === 401)?.error;
  if (refused) {
    admitted = false;
    pause();
  } else if (!admitted && outcomes.some(({ error }) => error === null)) {
    admitted = true;
    hurried = true; // for the rest
  }
  set({
    data,
    errors,
    lost,
    updatedAt: lost || refused ? now.updatedAt : Date.now(),
    tokenWanted: Boolean(refused),
  });
}

/**
 * Whether it is no worker's answer: none, or a proxy's. A worker's own errors have a code, and say what is wrong.
 * @param {ApiError} error
 */
function isLost(error) {
  return error.status === 0 || (error.status >= 500 && error.code === String(error.status));
}

/**
 * @param {string} name
 * @param {string} path
 * @returns {Memory}
 */
function memoryOf(name, path) {
  const memory = memories.get(name);
  if (memory?.path === path) return memory;
  const fresh = { path, text: "", due: 0, every: PERIOD, failures: 0 };
  memories.set(name, fresh);
  return fresh;
}

/**
 * One request. An answer with the text of the one before keeps the object of the one before, so nothing is rendered.
 * @param {Resource} resource
 * @param {Memory} memory
 */
async function ask(resource, memory) {
  const { name } = resource;
  const { path } = memory;
  try {
    const text = await request(path);
    const changed = text !== memory.text || get().data[name] === undefined;
    const value = changed ? (resource.read ?? JSON.parse)(text) : get().data[name];
    memory.text = text;
    memory.failures = 0;
    memory.every = resource.every?.(value) ?? PERIOD;
    memory.due = Date.now() + memory.every - PERIOD / 2;
    return { name, path, error: null, value, changed };
  } catch (reason) {
    const error = reason instanceof ApiError ? reason : new ApiError(0, "bad-answer", String(reason));
    memory.failures += 1;
    const wait = Math.max(Math.min(PERIOD * 2 ** memory.failures, LONGEST), error.retryAfter * 1000);
    memory.due = error.status === 0 ? 0 : Date.now() + wait;
    return { name, path, error, value: null, changed: false };
  }
}

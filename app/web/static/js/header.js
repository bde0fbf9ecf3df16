// The head of the page: is the cluster well, are the figures whole, and how is the page shown.

import { hasToken, setToken } from "./api.js";
import { clock, signed } from "./format.js";
import { html } from "./html.js";
import { chooseLanguage, explain, languages, t } from "./i18n.js";
import { Choice } from "./parts.js";
import { hurry } from "./poll.js";
import { SearchBox } from "./search_box.js";
import { chooseTheme, themes } from "./theme.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./types.js").Worker} Worker */

/** What nobody should have to do without: the paths by the names of the resources. */
const PATHS = /** @type {Record<string, string>} */ ({ cluster: "/cluster", stats: "/stats", open: "/batches", closed: "/batches" });
const THEME_SIGNS = /** @type {Record<string, string>} */ ({ auto: "◑", light: "☀", dark: "☾" });

/** The page that shows a resource. @param {string} name */
const VIEW_OF = (name) => ({ batch: "batch", found: "batches", station: "station", settings: "workers", partitions: "partitions" })[name] ?? "overview";

/** The URLs of workers that did not answer, from all answers shown. @param {State} state @returns {string[]} */
export function silentWorkers(state) {
  const shown = Object.entries(state.data).filter(([name]) => name === "cluster" || VIEW_OF(name) === state.view);
  const urls = shown.flatMap(([, answer]) => answer?.incomplete ?? []);
  return [...new Set(urls)].sort();
}

/** @param {State} state @returns {Worker[]} */
export function unreadyWorkers(state) {
  const silent = new Set(silentWorkers(state));
  return (state.data.cluster?.workers ?? []).filter((/** @type {Worker} */ worker) => !worker.ready && !silent.has(worker.url));
}

/** The workers whose settings differ from the others', each with its keys. @param {State} state @returns {string[]} */
function odd(state) {
  const workers = /** @type {Worker[]} */ (state.data.cluster?.workers ?? []);
  return workers.flatMap(({ url, differs = [] }) => (differs.length > 0 ? [`${url}: ${differs.join(", ")}`] : []));
}

/** Whose clocks differ from the asked worker's, and by how many seconds. @param {State} state @returns {string[]} */
function apart(state) {
  const workers = /** @type {Worker[]} */ (state.data.cluster?.workers ?? []);
  const offsets = new Map(workers.map((worker) => [worker.url, worker.clock_offset]));
  return (state.data.cluster?.clocks_apart ?? []).map((/** @type {string} */ url) => `${url} (${signed(offsets.get(url))})`);
}

/** @param {{state: State}} props */
export function Header({ state }) {
  return html`<header class="top">
    <h1><a href="#/"><img src="static/icon.svg" alt="" width="28" height="28" />${t("title")}</a></h1>
    <${Health} state=${state} />
    <div class="switches">
      <${Choice}
        label=${t("language.label")}
        choices=${Object.entries(languages).map(([value, text]) => ({ value, text: html`<span lang=${value}>${text}</span>` }))}
        value=${state.language}
        onChoose=${chooseLanguage}
      />
      <${Choice}
        label=${t("theme.label")}
        choices=${themes.map((value) => ({ value, text: html`<${ThemeSign} theme=${value} />` }))}
        value=${state.theme}
        onChoose=${chooseTheme}
      />
      <${Access} state=${state} />
      ${hasToken() && html`<button type="button" class="plain" onClick=${forget}>${t("token.forget")}</button>`}
    </div>
    <${Pages} view=${state.view} />
    <${SearchBox} state=${state} />
  </header>`;
}

/** What the token allows. @param {{state: State}} props */
export function Access({ state }) {
  const access = state.data.cluster?.access;
  if (access !== "operator" && access !== "read-only") return null;
  return html`<span class="access" title=${t(`access.${access}.why`)}>${t(`access.${access}`)}</span>`;
}

const PAGES = ["overview", "batches", "dead-letters", "late", "workers", "partitions"];

/** @param {{view: string}} props */
function Pages({ view }) {
  return html`<nav class="pages" aria-label=${t("pages.label")}>
    ${PAGES.map(
      (page) =>
        html`<a key=${page} href=${page === "overview" ? "#/" : `#/${page}`} aria-current=${page === view ? "page" : undefined}>
          ${t(`pages.${page}`)}
        </a>`,
    )}
  </nav>`;
}

function forget() {
  setToken(null);
  location.reload(); // nothing that was seen with it stays
}

/** @param {{theme: string}} props */
function ThemeSign({ theme }) {
  const name = t(`theme.${theme}`);
  return html`<span title=${name} aria-hidden="true">${THEME_SIGNS[theme]}</span><span class="spoken">${name}</span>`;
}

/** @param {{state: State}} props */
export function Health({ state }) {
  const workers = /** @type {Worker[]} */ (state.data.cluster?.workers ?? []);
  const silent = silentWorkers(state).length;
  const unready = unreadyWorkers(state).length;
  const partitions = workers.reduce((sum, { partitions: own }) => sum + (Array.isArray(own) ? own.length : own), 0);
  const level = state.lost || silent > 0 ? "bad" : unready > 0 || state.updatedAt === 0 ? "fair" : "good";
  const known = new Set([...workers.map((worker) => worker.url), ...silentWorkers(state)]).size;
  return html`<section class="health" aria-label=${t("health.label")} data-level=${level}>
    <span class="lamp" aria-hidden="true"></span>
    ${known > 0 &&
    html`<span>${t("health.workers", { n: known })}</span>
      <span>${t("health.partitions", { n: partitions })}</span>
      ${!state.lost && silent === 0 && unready === 0 && html`<span>${t("health.ready")}</span>`}`}
    ${state.lost && html`<strong>${t("health.lost")}</strong>`}
    ${unready > 0 && html`<strong>${t("health.recovering", { n: unready })}</strong>`}
    ${silent > 0 && html`<strong>${t("health.silent", { n: silent })}</strong>`}
    <span class="quiet">
      ${state.updatedAt > 0 ? t("health.updated", { time: clock(state.updatedAt / 1000) }) : t("health.waiting")}
    </span>
  </section>`;
}

/** What somebody has to know now. It is spoken when it changes, not at each answer. @param {{state: State}} props */
export function Alerts({ state }) {
  const lost = state.updatedAt > 0 ? t("alert.lost", { time: clock(state.updatedAt / 1000) }) : t("alert.never");
  const silent = silentWorkers(state);
  const unready = unreadyWorkers(state).map((worker) => worker.url);
  const settings = odd(state);
  const clocks = apart(state);
  const failed = Object.keys(PATHS).find((name) => (state.errors[name]?.status ?? 0) >= 400);
  const error = failed === undefined ? null : state.errors[failed];
  return html`<div class="alerts" role="alert">
    ${state.lost &&
    html`<p class="alert bad">
      <span>${lost}</span><button type="button" onClick=${hurry}>${t("retry")}</button>
    </p>`}
    ${!state.lost && silent.length > 0 && html`<p class="alert bad">${t("alert.incomplete", { urls: silent.join(", ") })}</p>`}
    ${!state.lost && unready.length > 0 && html`<p class="alert fair">${t("alert.recovering", { urls: unready.join(", ") })}</p>`}
    ${!state.lost && settings.length > 0 && html`<p class="alert bad">${t("alert.settings", { workers: settings.join("; ") })}</p>`}
    ${!state.lost && clocks.length > 0 && html`<p class="alert bad">${t("alert.clocks", { workers: clocks.join(", ") })}</p>`}
    ${!state.lost &&
    error &&
    error.status !== 401 &&
    html`<p class="alert bad">${t("alert.failed", { path: PATHS[failed ?? ""], message: explain(error) })}</p>`}
  </div>`;
}

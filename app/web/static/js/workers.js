// The page of the workers: how each stands, and with which settings they run.

import { choose, chosen } from "./choices.js";
import { Export } from "./export.js";
import { count, duration, moment, signed } from "./format.js";
import { html } from "./html.js";
import { t } from "./i18n.js";
import { Absent, Choice } from "./parts.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./types.js").Worker} Worker */

/** @param {{state: State}} props */
export function WorkersPage({ state }) {
  const { cluster, settings } = state.data;
  return html`<section class="panel workers">
      <div class="title">
        <h2 id="workers" tabindex="-1">${t("workers.heading")}</h2>
        ${cluster && html`<${Export} name="workers" heading=${t("workers.heading")} rows=${cluster.workers} />`}
      </div>
      ${cluster ? html`<${Table} cluster=${cluster} />` : html`<${Absent} error=${state.errors.cluster} path="/cluster" />`}
    </section>
    ${(cluster || state.errors.cluster) &&
    html`<section class="panel settings">
      ${settings
        ? html`<${Settings} answer=${settings} cluster=${cluster} query=${state.query} />`
        : html`<h2 id="settings">${t("settings.heading")}</h2>
            <${Absent} error=${state.errors.settings} path="/settings" />`}
    </section>`}`;
}

/** @param {{cluster: import("./types.js").ClusterState}} props */
function Table({ cluster }) {
  const silent = new Set(cluster.incomplete ?? []);
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby="workers">
    <table class="cards">
      <thead>
        <tr>
          <th scope="col">${t("workers.url")}</th>
          <th scope="col">${t("workers.state")}</th>
          <th scope="col">${t("workers.version")}</th>
          <th scope="col">${t("workers.started")}</th>
          <th scope="col">${t("workers.partitions")}</th>
          <th scope="col" class="number">${t("workers.open")}</th>
          <th scope="col" class="number">${t("workers.running")}</th>
          <th scope="col" class="number">${t("workers.waiting")}</th>
          <th scope="col" class="number">${t("workers.lag")}</th>
          <th scope="col" class="number">${t("workers.memory")}</th>
          <th scope="col" class="number">${t("workers.clock")}</th>
          <th scope="col">${t("workers.differs")}</th>
        </tr>
      </thead>
      <tbody>
        ${cluster.workers.map((worker) => html`<${Row} key=${worker.url} worker=${worker} silent=${silent.has(worker.url)} />`)}
      </tbody>
    </table>
  </div>`;
}

/** @param {{worker: Worker, silent: boolean}} props */
function Row({ worker, silent }) {
  const state = worker.ready ? "ready" : silent ? "silent" : "recovering";
  const differs = worker.differs ?? [];
  const memory = worker.resident;
  return html`<tr>
    <th scope="row" class="whole">${worker.url}</th>
    <td class=${`worker-${state}`}>${t(`workers.${state}`)}</td>
    <td data-name=${t("workers.version")}>${worker.version ?? t("none")}</td>
    <td class="time" data-name=${t("workers.started")}>${moment(worker.started_at)}</td>
    <td class="whole" data-name=${t("workers.partitions")}>${Array.isArray(worker.partitions) ? worker.partitions.join(" ") : worker.partitions}</td>
    <td class="number" data-name=${t("workers.open")}>${count(worker.open_batches)}</td>
    <td class="number" data-name=${t("workers.running")}>${count(worker.running)}</td>
    <td class="number" data-name=${t("workers.waiting")}>${count(worker.waiting)}</td>
    <td class="number" data-name=${t("workers.lag")}>${duration(worker.loop_lag)}</td>
    <td class="number" data-name=${t("workers.memory")}>${typeof memory === "number" ? `${count(memory / 2 ** 20)} MiB` : t("none")}</td>
    <td class="number" data-name=${t("workers.clock")}>${signed(worker.clock_offset)}</td>
    <td class=${differs.length > 0 ? "whole is-many" : "is-zero"} data-name=${t("workers.differs")}>
      ${differs.length > 0 ? differs.join(" ") : t("none")}
    </td>
  </tr>`;
}

/** @param {{answer: import("./types.js").Settings, cluster?: import("./types.js").ClusterState, query: string}} props */
function Settings({ answer, cluster, query }) {
  const shown = chosen(query, "show", "every");
  const { settings, differences } = answer;
  const different = Object.keys(differences);
  // Those that decide what comes out must be the same; others may differ.
  const wrong = new Set((cluster?.workers ?? []).flatMap(({ differs = [] }) => differs));
  const keys = shown === "every" ? Object.keys(settings) : different;
  const choices = ["every", "different"].map((value) => ({ value, text: t(`settings.${value}`, { n: different.length }) }));
  return html`<div class="title">
      <h2 id="settings">${t("settings.heading")}</h2>
      <${Choice} label=${t("settings.show")} choices=${choices} value=${shown} onChoose=${(/** @type {string} */ value) => choose("show", value === "every" ? "" : value)} />
      <${Export} name="settings" heading=${t("settings.heading")} rows=${keys.map((key) => ({ key, value: settings[key], differences: differences[key] ?? null }))} />
    </div>
    <p class="quiet">${different.length === 0 ? t("settings.same") : t("settings.differ", { n: different.length })}</p>
    ${keys.length > 0 &&
    html`<div class="scroll" role="region" tabindex="0" aria-labelledby="settings">
      <table class="cards">
        <thead>
          <tr>
            <th scope="col">${t("settings.key")}</th>
            <th scope="col">${t("settings.value")}</th>
          </tr>
        </thead>
        <tbody>
          ${keys.map(
            (key) =>
              html`<tr key=${key} class=${wrong.has(key) ? "is-wrong" : key in differences ? "is-different" : ""}>
                <th scope="row" class="whole">${key}</th>
                <td class="whole">
                  ${key in differences ? html`<${Values} values=${differences[key]} wrong=${wrong.has(key)} />` : valueOf(settings[key])}
                </td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`}`;
}

/** @param {{values: Record<string, any>, wrong: boolean}} props */
function Values({ values, wrong }) {
  return html`<strong>${t(wrong ? "settings.wrong" : "settings.other")}</strong>
    <ul>
      ${Object.entries(values).map(([url, value]) => html`<li key=${url}>${valueOf(value)} <span class="quiet">${url}</span></li>`)}
    </ul>`;
}

/** @param {any} value */
function valueOf(value) {
  if (value === null || value === "") return t("none");
  return Array.isArray(value) ? value.join(", ") || t("none") : String(value);
}

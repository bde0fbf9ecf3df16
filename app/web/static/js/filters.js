// Filters of a page: a form whose answer is the page's address, so that every view can be passed on; and older rows.

import { request } from "./api.js";
import { moment } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { explain, t } from "./i18n.js";
import { Absent, useStateOf } from "./parts.js";

const MOMENTS = ["since", "until"];

/** @typedef {{name: string, choices?: string[], textOf?: (choice: string) => string, placeholder?: string}} Field */

export const placeholder = "15m, 2h, 12:00";

/** Of a list of what came of single stations. @param {string[]} reasons @returns {Field[]} */
export function fieldsWith(reasons) {
  return [
    { name: "reason", choices: reasons },
    { name: "station" },
    { name: "batch" },
    { name: "since", placeholder },
    { name: "until", placeholder },
  ];
}

/**
 * A moment as the API takes it. It takes how long ago something was, or Unix seconds; a time of day, or of a day, on the
 * reader's clock becomes those, so that whoever gets the address sees the same.
 * @param {string} text @returns {string}
 */
export function momentAsked(text) {
  const [, day, time] = text.match(/^(\d{4}-\d\d-\d\d)?(?:(?:^|[T ]+)(\d{1,2}:\d\d(?::\d\d)?))?$/) ?? [];
  if (!day && !time) return text;
  const at = Date.parse(`${day ?? moment(Date.now() / 1000).slice(0, 10)}T${(time ?? "00:00").padStart(5, "0")}`);
  return Number.isNaN(at) ? text : String(Math.max(0, at / 1000));
}

/** The filters of an address as a reader writes them. @param {string} query @returns {Record<string, string>} */
function givenBy(query) {
  const given = Object.fromEntries(new URLSearchParams(query));
  for (const name of MOMENTS) if (/^\d{9,11}$/.test(given[name] ?? "")) given[name] = moment(Number(given[name]));
  return given;
}

/**
 * @param {{view: string, query: string, fields: Field[]}} props `query`: the filters that the address has now
 */
export function Filters({ view, query, fields }) {
  const [values, setValues] = useStateOf(query, () => givenBy(query));
  const change = (/** @type {string} */ name) => (/** @type {any} */ event) => setValues({ ...values, [name]: event.target.value });

  /** @param {SubmitEvent} event */
  function submit(event) {
    event.preventDefault();
    const filled = fields.map(({ name }) => [name, (values[name] ?? "").trim()]).filter(([, value]) => value !== "");
    for (const pair of filled) if (MOMENTS.includes(pair[0])) pair[1] = momentAsked(pair[1]);
    const asked = new URLSearchParams(filled).toString();
    location.hash = `#/${view}${asked ? `?${asked}` : ""}`;
  }

  return html`<form class="filters" role="search" aria-label=${t("filter.label")} onSubmit=${submit}>
    ${fields.map(
      ({ name, choices, textOf = String, placeholder }) =>
        html`<label key=${name} class="field">
          ${t(`filter.${name}`)}
          ${choices
            ? html`<select value=${values[name] ?? ""} onChange=${change(name)}>
                <option value="">${t("filter.any")}</option>
                ${choices.map((choice) => html`<option key=${choice} value=${choice}>${textOf(choice)}</option>`)}
              </select>`
            : html`<input name=${name} spellcheck=${false} placeholder=${placeholder ?? ""} value=${values[name] ?? ""} onInput=${change(name)} />`}
        </label>`,
    )}
    <div class="buttons">
      <button type="submit" class="strong">${t("filter.apply")}</button>
      ${query && html`<a href=${`#/${view}`}>${t("filter.clear")}</a>`}
    </div>
  </form>`;
}

/**
 * The rows of a list whose first page is asked for again and again, and what was read of older pages. What has been
 * seen stays, also when newer rows push it off the first page; where rows change (`changes`), what should be on that
 * page and is not any more goes.
 * @param {{path: string, query: string, page: any, rowsOf: (page: any) => any[], keyOf: (row: any) => string, timeOf: (row: any) => number, changes?: boolean}} list
 */
export function useOlder({ path, query, page, rowsOf, keyOf, timeOf, changes = false }) {
  const [own, setOlder] = useStateOf(query, () => /** @type {any} */ ({ rows: new Map(), next: undefined, failure: "" }));
  const [busy, setBusy] = useState(false);
  const seen = new Map(own.rows);
  if (changes && page) {
    const last = page.next === null ? -Infinity : Math.min(Infinity, ...rowsOf(page).map(timeOf));
    for (const [key, row] of own.rows) if (timeOf(row) > last) seen.delete(key);
  }
  for (const row of page ? rowsOf(page) : []) seen.set(keyOf(row), row);
  useEffect(() => setOlder({ ...own, rows: seen }), [page, query]);
  const next = own.next === undefined ? page?.next : own.next;

  async function more() {
    if (busy || !next) return;
    setBusy(true);
    try {
      const answer = JSON.parse(await request(`${path}?${query ? `${query}&` : ""}limit=100&cursor=${encodeURIComponent(next)}`));
      const rows = new Map(seen);
      for (const row of rowsOf(answer)) if (!rows.has(keyOf(row))) rows.set(keyOf(row), row);
      setOlder({ rows, next: answer.next, failure: "" });
    } catch (error) {
      setOlder({ ...own, failure: explain(/** @type {import("./api.js").ApiError} */ (error)) });
    } finally {
      setBusy(false);
    }
  }

  const rows = [...seen.values()].sort((one, other) => timeOf(other) - timeOf(one));
  return { rows, next, more, busy, failure: own.failure, path, filtered: `${path}${query ? `?${query}` : ""}` };
}

/**
 * A list, or why there is none; and the button for its older rows, with what came of it.
 * @param {{older: ReturnType<typeof useOlder>, page: any, error: any, children: any}} props `children`: the table
 */
export function Found({ older, page, error, children }) {
  const absent = html`<${Absent} error=${error} path=${`/${older.path}`} />`;
  return html`${page || older.rows.length > 0 ? children : absent}
    ${page && error && absent}
    <p class="error" role="alert">${older.failure}</p>
    ${older.next &&
    html`<p class="more"><button type="button" disabled=${older.busy} onClick=${older.more}>${t("filter.older")}</button></p>`}`;
}

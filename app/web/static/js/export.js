// Buttons that save a table: as CSV for a spreadsheet, as JSON for a program.

import { count } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { explain, t } from "./i18n.js";

/** @typedef {Record<string, any>} Row */
/** @typedef {{rows: Row[], cut?: boolean, incomplete?: string[]}} Rows `cut`: there are more than can be had */

/**
 * `name` is the file's, `heading` the table's; `rows` are known, or are those of all pages of a list of the API's.
 * @param {{name: string, heading: string, rows?: Row[], list?: {path: string, of: string}}} props
 */
export function Export({ name, heading, rows, list }) {
  const [said, say] = useState("");
  const [busy, setBusy] = useState(false);
  const there = useRef(true);
  useEffect(() => () => void (there.current = false), []);

  /** @param {"csv" | "json"} form */
  async function save(form) {
    setBusy(true);
    say(t("loading"));
    try {
      const files = await import("./table_file.js");
      const found = list
        ? await files.allRows(list.path, list.of, (/** @type {number} */ n) => (say(t("export.read", { n: count(n) })), there.current))
        : { rows: rows ?? [] };
      if (!there.current) return; // the reader has gone to another page
      files.saveRows(name, form, found.rows);
      say(told(found));
    } catch (error) {
      say(t("action.failed", { message: explain(/** @type {any} */ (error)) }));
    } finally {
      setBusy(false);
    }
  }

  return html`<div class="export" role="group" aria-label=${t("export.label", { heading })}>
    ${/** @type {("csv" | "json")[]} */ (["csv", "json"]).map(
      (form) => html`<button key=${form} type="button" class="plain" disabled=${busy} title=${t(`export.${form}`)} onClick=${() => save(form)}>
        ${form.toUpperCase()}
      </button>`,
    )}
    <span role="status" class="quiet">${said}</span>
  </div>`;
}

/** @param {Rows} found */
function told({ rows, cut = false, incomplete = [] }) {
  const saved = t("export.saved", { n: count(rows.length) });
  if (incomplete.length > 0) return `${saved} ${t("alert.incomplete", { urls: incomplete.join(", ") })}`;
  return cut ? `${saved} ${t("export.cut")}` : saved;
}

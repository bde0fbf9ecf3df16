// Finding batches and stations: the box in the page's head, and the page of what it finds.

import { ApiError, request } from "./api.js";
import { Export } from "./export.js";
import { Filters, Found, placeholder, useOlder } from "./filters.js";
import { count } from "./format.js";
import { html, useEffect, useState } from "./html.js";
import { t } from "./i18n.js";
import { StationId, closingText } from "./parts.js";
import { listPage, stationPath } from "./places.js";
import { BatchTable } from "./recent.js";

/** @typedef {import("./types.js").BatchRow} BatchRow */

/** @type {import("./filters.js").Field[]} */
const FIELDS = [
  { name: "q" },
  { name: "station" },
  { name: "status", choices: ["open", "closed"], textOf: (status) => t(`status.${status}`) },
  { name: "completed_by", choices: ["all", "timeout", "ratio", "operator", "revision"], textOf: closingText },
  { name: "since", placeholder },
  { name: "until", placeholder },
];

/** @param {{state: import("./store.js").State}} props */
export function SearchPage({ state }) {
  const page = state.data.found;
  const older = useOlder({
    path: "batches",
    query: state.query,
    page,
    rowsOf: (answer) => answer.batches,
    keyOf: (batch) => batch.batch_id,
    timeOf: (batch) => batch.opened_at,
    changes: true,
  });
  const q = (new URLSearchParams(state.query).get("q") ?? "").trim();
  return html`<section class="panel recent found">
    <div class="title">
      <h2 id="found" tabindex="-1">${t("search.heading")}</h2>
      <${Export} name="batches" heading=${t("search.heading")} list=${{ path: older.filtered, of: "batches" }} />
    </div>
    <p class="quiet">${t("search.what")}</p>
    <${Filters} view="batches" query=${state.query} fields=${FIELDS} />
    ${q && html`<${StationHit} key=${q} id=${q} />`}
    <${Found} older=${older} page=${page} error=${state.errors.found}>
      <${BatchTable} batches=${older.rows} heading="found" none=${t(older.next ? "search.not.yet" : "search.none")} days=${true} />
    <//>
  </section>`;
}

/** Whether there is a station of that name. @param {{id: string}} props */
function StationHit({ id }) {
  const [row, setRow] = useState(/** @type {import("./types.js").Station | null} */ (null));
  useEffect(() => {
    let wanted = true;
    request(stationPath(id, { batches: 1 }))
      .then((text) => wanted && setRow(JSON.parse(text)))
      .catch((error) => {
        if (!(error instanceof ApiError)) throw error; // there is none, or nobody knows: the link below finds out
      });
    return () => {
      wanted = false;
    };
  }, [id]);
  return html`<p class="hit" role="status">
    ${row &&
    html`${t("search.station")} <${StationId} id=${id} />
      <span class="quiet">${t("fleet.counts", { arrived: count(row.arrivals), missed: count(row.misses), failed: count(row.failures), empty: count(row.empties) })}</span>`}
    <a href=${listPage("batches", { station: id })}>${t("search.expected", { id })}</a>
  </p>`;
}

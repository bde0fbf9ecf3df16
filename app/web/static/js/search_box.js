// The one box in the page's head: whatever is typed there, its answer is an address.

import { html } from "./html.js";
import { t } from "./i18n.js";
import { useStateOf } from "./parts.js";
import { listPage, stationPage } from "./places.js";

const LONGEST = 200; // characters of a batch id: what is longer is a station's

/** @param {{state: import("./store.js").State}} props */
export function SearchBox({ state }) {
  const asked = state.view === "batches" ? (new URLSearchParams(state.query).get("q") ?? "") : "";
  const [text, change] = useStateOf(`${state.view} ${asked}`, () => asked);
  return html`<form
    class="find"
    role="search"
    aria-label=${t("search.label")}
    onSubmit=${(/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      const q = text.trim();
      location.hash = q.length > LONGEST ? stationPage(q) : listPage("batches", { q });
    }}
  >
    <input
      type="search"
      aria-label=${t("search.box")}
      title=${t("search.box")}
      placeholder=${t("search.box")}
      autocomplete="off"
      spellcheck=${false}
      value=${text}
      onInput=${(/** @type {any} */ event) => change(event.target.value)}
    />
    <button type="submit">${t("search.find")}</button>
  </form>`;
}

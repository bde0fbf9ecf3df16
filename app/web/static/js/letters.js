// The page of the dead letters: found, read in full, and sent again.

import { isReader, NameField, refusalOf, whyNot } from "./actions.js";
import { request } from "./api.js";
import { Export } from "./export.js";
import { fieldsWith, Filters, Found, useOlder } from "./filters.js";
import { count, moment } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { explain, has, t } from "./i18n.js";
import { remember, remembered } from "./memory.js";
import { BatchId, StationId, useStateOf } from "./parts.js";
import { hurry } from "./poll.js";
import { set } from "./store.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./types.js").Letter} Letter */
/** @typedef {import("./types.js").LetterDetail} LetterDetail */
/** @typedef {import("./types.js").Replay} Replay */

const REASONS = ["bad-message", "bad-record", "station-failed", "discarded", "handler-failed", "too-large"];
const MOST = 100; // letters that the worker sends again at once

/** @param {{state: State}} props */
export function LettersPage({ state }) {
  const page = state.data.letters;
  const [chosen, choose] = useStateOf(state.query, () => /** @type {Set<string>} */ (new Set()));
  const older = useOlder({
    path: "dead-letters",
    query: state.query,
    page,
    rowsOf: (answer) => answer.letters,
    keyOf: (letter) => letter.id,
    timeOf: (letter) => letter.failed_at,
  });
  const reader = isReader(state);
  const reason = whyNot(state);
  /** @param {string} id */
  function turn(id) {
    const next = new Set(chosen);
    if (!next.delete(id) && next.size < MOST) next.add(id);
    choose(next);
  }
  const fresh = older.rows.filter((letter) => letter.replayed_at === null).slice(0, MOST);

  return html`<section class="panel letters">
    <div class="title">
      <h2 id="letters" tabindex="-1">${t("letters.heading")}</h2>
      <${Export} name="dead-letters" heading=${t("letters.heading")} list=${{ path: older.filtered, of: "letters" }} />
    </div>
    <p class="quiet">${t("letters.what")}</p>
    <${Filters}
      view="dead-letters"
      query=${state.query}
      fields=${fieldsWith(REASONS)}
    />
    ${!reader &&
    html`<div class="tools">
      <button type="button" disabled=${fresh.length === 0} onClick=${() => choose(new Set(fresh.map(({ id }) => id)))}>
        ${t("letters.choose", { n: fresh.length })}
      </button>
      <button
        type="button"
        class="strong"
        disabled=${chosen.size === 0 || reason !== ""}
        title=${reason}
        onClick=${() => set({ resending: [...chosen] })}
      >
        ${t("letters.resend", { n: chosen.size })}
      </button>
    </div>`}
    ${reason && html`<p class="quiet">${reason}</p>`}
    <${Found} older=${older} page=${page} error=${state.errors.letters}>
      <${Table} letters=${older.rows} chosen=${chosen} turn=${reader ? null : turn} />
    <//>
    <${ReplayDialog} state=${state} />
  </section>`;
}

/** @param {{letters: Letter[], chosen: Set<string>, turn: ((id: string) => void) | null}} props */
function Table({ letters, chosen, turn }) {
  const [opened, open] = useState("");
  if (letters.length === 0) return html`<p class="quiet">${t("letters.none")}</p>`;
  return html`<div class="scroll" role="region" tabindex="0" aria-labelledby="letters">
    <table class="cards">
      <thead>
        <tr>
          ${turn && html`<td></td>`}
          <th scope="col">${t("letters.letter")}</th>
          <th scope="col">${t("letters.time")}</th>
          <th scope="col">${t("filter.reason")}</th>
          <th scope="col">${t("filter.batch")}</th>
          <th scope="col">${t("filter.station")}</th>
          <th scope="col">${t("letters.error")}</th>
          <th scope="col">${t("letters.replayed")}</th>
        </tr>
      </thead>
      <tbody>
        ${letters.flatMap((letter) => [
          html`<tr key=${letter.id} class=${letter.replayed_at === null ? "" : "is-replayed"}>
            ${turn &&
            html`<td>
              <input
                type="checkbox"
                aria-label=${t("letters.choose.one", { id: letter.id })}
                checked=${chosen.has(letter.id)}
                onChange=${() => turn(letter.id)}
              />
            </td>`}
            <th scope="row">
              <button type="button" class="plain" aria-expanded=${opened === letter.id} onClick=${() => open(opened === letter.id ? "" : letter.id)}>
                ${letter.id}
              </button>
            </th>
            <td class="time">${moment(letter.failed_at)}</td>
            <td class="word">${letter.reason}</td>
            <td class="batch">${letter.batch_id === null ? t("none") : html`<${BatchId} id=${letter.batch_id} />`}</td>
            <td class="whole"><${StationId} id=${letter.station_id} /></td>
            <td class="whole said">${letter.error}</td>
            <td class="time" data-name=${t("letters.replayed")}>${letter.replayed_at === null ? t("none") : moment(letter.replayed_at)}</td>
          </tr>`,
          opened === letter.id &&
            html`<tr key=${`${letter.id} whole`}>
              <td colspan=${turn ? 8 : 7}><${Whole} letter=${letter} /></td>
            </tr>`,
        ])}
      </tbody>
    </table>
  </div>`;
}

/** One letter in full. @param {{letter: Letter}} props */
function Whole({ letter }) {
  const [detail, setDetail] = useState(/** @type {LetterDetail | null} */ (null));
  const [failure, setFailure] = useState("");
  useEffect(() => {
    let wanted = true;
    request(`dead-letters/${encodeURIComponent(letter.id)}`)
      .then((text) => wanted && setDetail(JSON.parse(text)))
      .catch((error) => wanted && setFailure(explain(error)));
    return () => {
      wanted = false;
    };
  }, [letter.id]);
  if (failure) return html`<p class="error" role="alert">${failure}</p>`;
  if (!detail) return html`<p class="quiet">${t("loading")}</p>`;
  const source = detail.source_topic === null ? t("none") : `${detail.source_topic}[${detail.source_partition}]@${detail.source_offset}`;
  const text = detail.value ?? detail.value_base64;
  return html`<div class="letter">
    <p class="whole">${t("letters.source")} ${source}</p>
    <h3>${t("letters.error")}</h3>
    <pre tabindex="0" role="region" aria-label=${t("letters.error")}>${detail.error || t("none")}</pre>
    <h3>
      ${t("letters.value", { n: count(detail.value_bytes) })}
      ${detail.value_base64 !== null && html` <small>base64</small>`}
      ${detail.value_cut && html` <small>${t("letters.cut")}</small>`}
    </h3>
    <pre tabindex="0" role="region" aria-label=${t("letters.value", { n: count(detail.value_bytes) })}>${pretty(text)}</pre>
  </div>`;
}

/** JSON with its lines, other text as it is. @param {string | null} text */
function pretty(text) {
  if (text === null) return t("none");
  // Parsing would change numbers of more digits than a browser's have.
  if (/\d{16}/.test(text)) return text;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

/** What would be sent, and then what was. @param {{state: State}} props */
function ReplayDialog({ state }) {
  const ids = state.resending;
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [again, setAgain] = useState(false);
  const [name, setName] = useState(remembered("operator") ?? "");
  const [told, setTold] = useState(/** @type {{letters: Replay[], dry: boolean} | null} */ (null));
  const [busy, setBusy] = useState(false);
  const [failure, setFailure] = useState("");
  const away = () => set({ resending: null });

  /** @param {boolean} dry @param {boolean} repeat */
  async function ask(dry, repeat) {
    setBusy(true);
    setFailure("");
    try {
      const body = { ids, dry_run: dry, again: repeat };
      const answer = JSON.parse(await request("dead-letters/replay", { method: "POST", body, operator: name.trim() }));
      setTold({ letters: answer.letters, dry });
      if (dry) return;
      remember("operator", name.trim());
      const sent = answer.letters.filter((/** @type {Replay} */ one) => one.would === "sent").length;
      set({ notice: t("letters.sent", { n: sent }) });
      hurry();
    } catch (error) {
      setFailure(refusalOf(error));
    } finally {
      setBusy(false);
    }
  }

  useEffect(() => {
    if (ids === null) {
      dialog.current?.close();
      return;
    }
    setAgain(false);
    setTold(null);
    dialog.current?.showModal();
    ask(true, false);
  }, [ids]);

  const due = told?.letters.filter((one) => one.would === "send").length ?? 0;
  const before = told?.letters.some((one) => one.would === "sent-before") ?? false;
  return html`<dialog ref=${dialog} class="ask wide" aria-labelledby="resend" onClose=${away}>
    ${ids !== null &&
    html`<form
      onSubmit=${(/** @type {SubmitEvent} */ event) => {
        event.preventDefault();
        if (!busy && told?.dry && due > 0) ask(false, again);
      }}
    >
      <h2 id="resend">${told && !told.dry ? t("letters.resent") : t("letters.resend.ask")}</h2>
      ${(told === null || told.dry) && html`<p>${t("letters.resend.what")}</p>`}
      ${told === null && !failure && html`<p class="quiet">${t("loading")}</p>`}
      ${told && html`<${Fates} replays=${told.letters} />`}
      ${told?.dry &&
      (before || again) &&
      html`<label class="tick">
        <input
          type="checkbox"
          checked=${again}
          disabled=${busy}
          onChange=${(/** @type {any} */ event) => {
            setAgain(event.target.checked);
            ask(true, event.target.checked);
          }}
        />
        ${t("letters.again")}
      </label>`}
      ${told?.dry && html`<${NameField} name=${name} onName=${setName} />`}
      <p class="error" role="alert">${failure}</p>
      <div class="buttons">
        <button type="button" autofocus onClick=${away}>${told && !told.dry ? t("letters.close") : t("cancel")}</button>
        ${(told === null || told.dry) &&
        html`<button type="submit" class="strong" disabled=${busy || due === 0}>
          ${busy && told ? t("action.sending") : t("letters.send", { n: due })}
        </button>`}
      </div>
    </form>`}
  </dialog>`;
}

/** @param {{replays: Replay[]}} props */
function Fates({ replays }) {
  return html`<ul class="fates" tabindex="0" aria-label=${t("letters.fates")}>
    ${replays.map(
      ({ id, to, would, why }) =>
        html`<li key=${id} class=${`fate-${would}`}>
          <b>${id}</b> ${has(`fate.${would}`) ? t(`fate.${would}`) : would}${to && html` → <span class="whole">${to}</span>`}
          ${why && html` <span class="quiet whole">${why}</span>`}
        </li>`,
    )}
  </ul>`;
}

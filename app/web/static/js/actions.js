// The operator's actions: the buttons, the question before, and what came of it.

import { hasToken, request } from "./api.js";
import * as clock from "./clock.js";
import { count, left } from "./format.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { explain, t } from "./i18n.js";
import { remember, remembered } from "./memory.js";
import { batchPath } from "./places.js";
import { hurry } from "./poll.js";
import { set } from "./store.js";

/** @typedef {import("./store.js").State} State */
/** @typedef {import("./types.js").BatchRow} BatchRow */

const KINDS = /** @type {const} */ (["complete", "extend", "discard"]);
const SECONDS = 10; // what `extend` is asked with at first
const NAME_CHARACTERS = 64; // what the worker takes

/** Whether the token only looks: then there are no buttons. @param {State} state */
export function isReader(state) {
  return state.data.cluster?.access === "read-only";
}

/** Why there are no actions now; "" when there are. @param {State} state */
export function whyNot(state) {
  if (isReader(state)) return t("action.readonly");
  if (!hasToken()) return t("action.disabled");
  return state.forbidden ? t("action.forbidden") : "";
}

/** @param {{batch: BatchRow, state: State}} props */
export function ActionButtons({ batch, state }) {
  const reason = whyNot(state);
  if (isReader(state) || state.wall) return null;
  return html`<div class="actions" role="group" aria-label=${t("flight.actions", { id: batch.batch_id })}>
    ${KINDS.map(
      (kind) =>
        html`<button
          key=${kind}
          type="button"
          class=${`action-${kind}`}
          disabled=${reason !== ""}
          title=${reason}
          onClick=${() => set({ asked: { kind, batch } })}
        >
          ${t(`action.${kind}`)}
        </button>`,
    )}
  </div>`;
}

/** Say why an action was not taken, and note it if none are. @param {unknown} error @returns {string} */
export function refusalOf(error) {
  const refusal = /** @type {import("./api.js").ApiError} */ (error);
  if (refusal.status === 403) set({ forbidden: true });
  return t("action.failed", { message: explain(refusal) });
}

/** Who acts, by a name of his own. @param {{name: string, onName: (name: string) => void}} props */
export function NameField({ name, onName }) {
  return html`<label class="field">
    ${t("action.name")}
    <input
      autocomplete="name"
      maxlength=${NAME_CHARACTERS}
      value=${name}
      onInput=${(/** @type {any} */ event) => onName(event.target.value)}
    />
  </label>`;
}

/** The question that stands before an action. @param {{state: State}} props */
export function ActionDialog({ state }) {
  const { asked } = state;
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [seconds, setSeconds] = useState(String(SECONDS));
  const [name, setName] = useState(remembered("operator") ?? "");
  const [sending, setSending] = useState(false);
  const [failure, setFailure] = useState("");
  useEffect(() => {
    if (asked === null) {
      dialog.current?.close();
      return;
    }
    setSeconds(String(SECONDS));
    setFailure("");
    dialog.current?.showModal();
  }, [asked]);
  const away = () => set({ asked: null });

  /** @param {SubmitEvent} event */
  async function send(event) {
    event.preventDefault();
    if (asked === null || sending) return;
    const { kind, batch } = asked;
    setSending(true);
    try {
      const body = kind === "extend" ? { seconds: Number(seconds) } : undefined;
      await request(`${batchPath(batch.batch_id)}/${kind}`, { method: "POST", body, operator: name.trim() });
      remember("operator", name.trim());
      set({ asked: null, notice: t(`action.${kind}.sent`, { id: batch.batch_id, seconds }) });
      hurry();
    } catch (error) {
      setFailure(refusalOf(error));
    } finally {
      setSending(false);
    }
  }

  return html`<dialog ref=${dialog} class="ask" aria-labelledby="ask" onClose=${away}>
    ${asked &&
    html`<form onSubmit=${send}>
      <h2 id="ask">${t(`action.${asked.kind}.ask`)}</h2>
      <p class="whole">${asked.batch.batch_id}</p>
      <p>${t(`action.${asked.kind}.what`, numbersOf(current(asked.batch, state)))}</p>
      ${asked.kind === "extend" &&
      html`<label class="field">
        ${t("action.seconds")}
        <input
          type="number"
          inputmode="decimal"
          min="0.1"
          step="any"
          required
          value=${seconds}
          onInput=${(/** @type {any} */ event) => setSeconds(event.target.value)}
        />
      </label>`}
      <${NameField} name=${name} onName=${setName} />
      <p class="error" role="alert">${failure}</p>
      <div class="buttons">
        <button type="button" autofocus=${asked.kind !== "extend"} onClick=${away}>${t("cancel")}</button>
        <button type="submit" class=${`strong action-${asked.kind}`} disabled=${sending}>
          ${sending ? t("action.sending") : t(`action.${asked.kind}`)}
        </button>
      </div>
    </form>`}
  </dialog>`;
}

/** The batch as it is now, if it is shown. @param {BatchRow} batch @param {State} state @returns {BatchRow} */
function current(batch, state) {
  const shown = [state.data.batch, ...(state.data.open?.batches ?? [])];
  return shown.find((row) => row?.batch_id === batch.batch_id) ?? batch;
}

/** @param {BatchRow} batch */
function numbersOf(batch) {
  return {
    arrived: count(batch.arrived_count),
    expected: count(batch.expected_count),
    left: left(batch.deadline - clock.now()),
  };
}

/** What became of the last action; it goes away by itself. @param {{state: State}} props */
export function Notice({ state }) {
  useEffect(() => {
    if (state.notice === "") return undefined;
    const timer = setTimeout(() => set({ notice: "" }), 8000);
    return () => clearTimeout(timer);
  }, [state.notice]);
  return html`<div class="notice" role="status">${state.notice && html`<p>${state.notice}</p>`}</div>`;
}

// Asks for the token when the worker wants one.

import { hasToken, setToken } from "./api.js";
import { html, useEffect, useRef, useState } from "./html.js";
import { t } from "./i18n.js";
import { resume } from "./poll.js";
import { get, set } from "./store.js";

/** @param {{state: import("./store.js").State}} props */
export function TokenDialog({ state }) {
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  const [token, change] = useState("");
  const refused = state.tokenWanted && hasToken();
  useEffect(() => {
    if (state.tokenWanted) dialog.current?.showModal();
    else dialog.current?.close();
  }, [state.tokenWanted]);

  /** @param {SubmitEvent} event */
  function enter(event) {
    event.preventDefault();
    setToken(token.trim());
    change("");
    set({ tokenWanted: false, forbidden: false });
    resume();
  }

  return html`<dialog
    ref=${dialog}
    class="ask"
    aria-labelledby="token"
    onClose=${() => get().tokenWanted && dialog.current?.showModal()}
  >
    ${state.tokenWanted &&
    html`<form onSubmit=${enter}>
      <h2 id="token">${t("token.heading")}</h2>
      <p>${t("token.why")}</p>
      <label class="field">
        ${t("token.label")}
        <input
          type="password"
          autocomplete="off"
          spellcheck=${false}
          required
          value=${token}
          onInput=${(/** @type {any} */ event) => change(event.target.value)}
        />
      </label>
      <p class="error" role="alert">${refused ? t("token.refused") : ""}</p>
      <div class="buttons"><button type="submit" class="strong">${t("token.enter")}</button></div>
    </form>`}
  </dialog>`;
}

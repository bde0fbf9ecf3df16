// A button that copies a text.

import { html, useState } from "./html.js";
import { t } from "./i18n.js";

/** @param {{text: string}} props */
export function CopyButton({ text }) {
  const [copied, setCopied] = useState("");
  return html`<button type="button" onClick=${async () => (await copy(text)) && setCopied(text)}>
    ${t(copied === text ? "output.copied" : "output.copy")}
  </button>`;
}

/** @param {string} text @returns {Promise<boolean>} whether it is copied */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // pages that come without TLS have no clipboard
  }
}

/** @param {string} text */
function copyBySelection(text) {
  const field = document.body.appendChild(document.createElement("textarea"));
  field.value = text;
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

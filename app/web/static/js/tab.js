// The tab tells what is wrong: its title in words, its icon by colour and sign.

import { alarmFor } from "./alarm.js";
import { useEffect, useRef } from "./html.js";
import { t } from "./i18n.js";
import { troublesOf } from "./troubles.js";

const SAID = 2; // in a title: a tab has little room
const SIGNS = /** @type {Record<string, string>} */ ({
  fair: `<rect x="15" y="15" width="16" height="16" fill="#f0ab2e" stroke="#fff" stroke-width="2"/>`,
  bad: `<path d="M21 9l11 11-11 11-11-11z" fill="#d1361a" stroke="#fff" stroke-width="2"/><path d="M21 13v8m0 3v3" stroke="#fff" stroke-width="3"/>`,
});
const LINES = `<path d="M7 9h7l4 7M7 16h11M7 23h7l4-7h7" fill="none" stroke="#fff" stroke-width="2.6"/>`;

const alarm = alarmFor(new URLSearchParams(location.search));

/** Keep title and icon as the state is, and raise the alarm when it becomes bad. @param {import("./store.js").State} state */
export function useTab(state) {
  const troubles = troublesOf(state);
  const level = troubles.some((one) => one.level === "bad") ? "bad" : troubles.length > 0 ? "fair" : "good";
  const title = [...troubles.slice(0, SAID).map(({ text }) => text), t("title")].join(" · ");
  const known = state.data.stats !== undefined;
  const before = useRef(/** @type {string | null} */ (null)); // null: what was wrong at first is no news
  useEffect(() => {
    document.title = title;
  }, [title]);
  useEffect(() => {
    if (!known) return;
    if (level === "bad" && before.current !== null && before.current !== "bad") alarm?.(title);
    before.current = level;
  }, [level, known]);
  useEffect(() => {
    const icon = /** @type {HTMLLinkElement} */ (document.querySelector("link[rel=icon]"));
    icon.href = level === "good" ? "static/icon.svg" : drawn(level);
    icon.dataset.level = level;
  }, [level]);
}

/** An icon that needs no worker, which may be gone. @param {string} level */
function drawn(level) {
  const plate = `<rect width="32" height="32" rx="7" fill="#0f6e68"/>`;
  const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${plate}${LINES}${SIGNS[level]}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(image)}`;
}

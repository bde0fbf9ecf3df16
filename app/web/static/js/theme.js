// Light or dark: the system's, or the one that was chosen (`early.js` sets that before the first paint).

import { set } from "./store.js";

const CHOSEN = "dashboard.theme";

export const themes = ["auto", "light", "dark"];

export function startTheme() {
  set({ theme: document.documentElement.dataset.theme ?? "auto" });
}

/** @param {string} theme */
export function chooseTheme(theme) {
  try {
    localStorage.setItem(CHOSEN, theme);
  } catch {
    // Storage is forbidden: it lasts as long as the page.
  }
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  set({ theme });
}

// Light or dark: the system's, or the one that was chosen (`early.js` sets that before the first paint).

import { remember } from "./memory.js";
import { set } from "./store.js";

export const themes = ["auto", "light", "dark"];

export function startTheme() {
  set({ theme: document.documentElement.dataset.theme ?? "auto" });
}

/** @param {string} theme */
export function chooseTheme(theme) {
  remember("theme", theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  set({ theme });
}

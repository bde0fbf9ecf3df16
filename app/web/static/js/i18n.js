// The texts of the page in both languages, and the one that is shown.

import { remember, remembered } from "./memory.js";
import { get, set } from "./store.js";
import en from "./i18n/en.js";
import zh from "./i18n/zh.js";

/** All texts by language; both have the same keys. */
export const texts = /** @type {Record<string, Record<string, string>>} */ ({ en, zh });

/** Each language's name in that language. */
export const languages = { en: "English", zh: "中文" };

/**
 * A text in the language that is shown, with its `{names}` filled in; `{n:worker}` is `1 worker`, or `2 workers`.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values = {}) {
  return texts[get().language][key].replace(/\{(\w+)(?::(\w+))?\}/g, (whole, name, noun) => {
    const value = String(values[name] ?? whole);
    return noun === undefined ? value : `${value} ${noun}${value === "1" ? "" : "s"}`;
  });
}

/** Whether there is such a text; for codes that a newer worker may send. @param {string} key */
export function has(key) {
  return key in en;
}

/** What an error says, in the language that is shown where its code is known. @param {import("./api.js").ApiError} error */
export function explain(error) {
  return has(`error.${error.code}`) ? t(`error.${error.code}`) : error.message;
}

/** Show the language that was chosen before, or the browser's. */
export function startLanguage() {
  const chosen = remembered("language");
  const wanted = chosen !== null && chosen in texts ? chosen : navigator.language;
  show(wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
}

/** @param {string} language */
export function chooseLanguage(language) {
  remember("language", language);
  show(language);
}

/** @param {string} language */
function show(language) {
  set({ language });
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = t("title");
}

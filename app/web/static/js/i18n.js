// The texts of the page in both languages, and the one that is shown.

import { remember, remembered } from "./memory.js";
import { get, set } from "./store.js";

/** Loads the texts of a language; both have the same keys. @type {Record<string, () => Promise<{default: Record<string, string>}>>} */
const LOADERS = { en: () => import("./i18n/en.js"), zh: () => import("./i18n/zh.js") };

/** The texts of the languages that were shown. @type {Record<string, Record<string, string>>} */
const texts = {};

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
  return key in texts[get().language];
}

/** What an error says, in the language that is shown where its code is known. @param {import("./api.js").ApiError} error */
export function explain(error) {
  return has(`error.${error.code}`) ? t(`error.${error.code}`) : error.message;
}

/** Show the language that the address asks for, that was chosen before, or the browser's. */
export async function startLanguage() {
  const asked = new URLSearchParams(location.search).get("lang") ?? remembered("language") ?? "";
  const wanted = asked in LOADERS ? asked : navigator.language;
  await show(wanted.toLowerCase().startsWith("zh") ? "zh" : "en");
}

/** @param {string} language */
export async function chooseLanguage(language) {
  remember("language", language);
  try {
    await show(language);
  } catch {
    // The worker is away, which the page tells: it stays in the language that it has.
  }
}

/** @param {string} language */
async function show(language) {
  texts[language] ??= (await LOADERS[language]()).default;
  set({ language });
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

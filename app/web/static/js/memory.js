// What this browser remembers of its reader: language, colours, name.

/** @param {string} name @returns {string | null} null when there is nothing, or storage is forbidden */
export function remembered(name) {
  try {
    return localStorage.getItem(`dashboard.${name}`);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  try {
    localStorage.setItem(`dashboard.${name}`, value);
  } catch {
    // Storage is forbidden: it lasts as long as the page.
  }
}

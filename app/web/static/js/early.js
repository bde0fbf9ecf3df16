// Runs before the first paint, so that a chosen theme does not flash, so that a wall is laid out as one, and so that a
// token leaves the address at once. A classic script: modules come too late for that.
try {
  const theme = new URLSearchParams(location.search).get("theme") ?? localStorage.getItem("dashboard.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme.
}

if (new URLSearchParams(location.search).get("wall") === "1") document.documentElement.dataset.wall = "";

/**
 * Take the token out of an address such as `/#token=…`, `/?token=…&…` or `/#/late?token=…`, for displays that nobody
 * logs in at. It stays in no history; null when there is none.
 */
globalThis.takeToken = () => {
  /** @type {string | null} */
  let token = null;
  const without = (/** @type {string} */ part) => {
    const found = /([?#&])token=([^&#]*)&?/.exec(part);
    if (!found) return part;
    try {
      token = decodeURIComponent(found[2]);
    } catch {
      token = found[2];
    }
    return part.replace(found[0], found[1]).replace(/[?#&]$/, "");
  };
  const [search, hash] = [without(location.search), without(location.hash)];
  if (token !== null) history.replaceState(null, "", location.pathname + search + hash);
  return token || null;
};
globalThis.givenToken = globalThis.takeToken();

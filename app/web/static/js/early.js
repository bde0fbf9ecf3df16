// Runs before the first paint, so that a chosen theme does not flash. A classic script: modules come too late for that.
try {
  const theme = localStorage.getItem("dashboard.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden: the system's theme.
}

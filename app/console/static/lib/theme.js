// Light or dark: as the system says, until somebody says otherwise.
const KEPT = "nextbest.theme";

export function applyTheme() {
  const kept = localStorage.getItem(KEPT);
  if (kept) document.documentElement.dataset.theme = kept;
}

export function isDark() {
  const kept = document.documentElement.dataset.theme;
  return kept ? kept === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function switchTheme() {
  const next = isDark() ? "light" : "dark";
  localStorage.setItem(KEPT, next);
  document.documentElement.dataset.theme = next;
}

// Words in English and Spanish. A dictionary is a file of keys; `{name}` in a text is replaced.
const LANGUAGES = ["en", "es"];
const KEPT = "nextbest.language";
let words = {};
export let language = "en";

export function preferredLanguage() {
  const kept = localStorage.getItem(KEPT);
  if (LANGUAGES.includes(kept)) return kept;
  return navigator.language?.startsWith("es") ? "es" : "en";
}

export async function useLanguage(wanted) {
  words = await (await fetch(new URL(`../i18n/${wanted}.json`, import.meta.url))).json();
  language = wanted;
  document.documentElement.lang = wanted;
}

export function keepLanguage(wanted) {
  localStorage.setItem(KEPT, wanted);
  return useLanguage(wanted);
}

/** The text of a key. One that is missing shows its key, so that it is noticed. */
export function t(key, values = {}) {
  const text = words[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** The text of a key that may be missing: then `otherwise`. */
export const known = (key, otherwise) => words[key] ?? otherwise;

// Addresses without reloading: a link inside of the console changes what is shown.
const CHANGED = "address-changed";

export function go(path, { replace = false } = {}) {
  if (path !== location.pathname + location.search) {
    history[replace ? "replaceState" : "pushState"](null, "", path);
  }
  dispatchEvent(new Event(CHANGED));
}

export function onChange(tell) {
  const click = (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    if (link.origin !== location.origin || !link.pathname.startsWith("/console") || link.target) return;
    event.preventDefault();
    go(link.pathname + link.search);
  };
  addEventListener("popstate", tell);
  addEventListener(CHANGED, tell);
  document.addEventListener("click", click);
  return () => {
    removeEventListener("popstate", tell);
    removeEventListener(CHANGED, tell);
    document.removeEventListener("click", click);
  };
}

/** Matches a path with a pattern such as `/console/offers/:id`; gives its parts, or null. */
export function match(pattern, path) {
  const wanted = pattern.split("/");
  const given = path.replace(/\/$/, "").split("/");
  if (wanted.length !== given.length) return null;
  const found = {};
  for (const [i, word] of wanted.entries()) {
    if (word.startsWith(":")) found[word.slice(1)] = decodeURIComponent(given[i]);
    else if (word !== given[i]) return null;
  }
  return found;
}

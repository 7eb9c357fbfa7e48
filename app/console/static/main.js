// Starts the console: language, theme, who is signed in; then the shell around the page of the address.
import { html, render, useCallback, useEffect, useState } from "./lib/ui.js";
import { get, setToken } from "./lib/api.js";
import { keepLanguage, preferredLanguage, t, useLanguage } from "./lib/i18n.js";
import { may, setRole } from "./lib/roles.js";
import { go, match, onChange } from "./lib/router.js";
import { applyTheme } from "./lib/theme.js";
import { Failure, Told, tell } from "./lib/widgets.js";
import { PAGES } from "./pages.js";
import { Shell } from "./shell.js";
import { SignIn } from "./pages/sign_in.js";

function Console() {
  const [session, setSession] = useState(null);
  const [, redraw] = useState(0);
  const adopt = useCallback((found) => {
    setToken(found.csrf_token ?? "");
    setRole(found.role ?? "", found.approvals);
    setSession(found);
    sendKept(found.signed_in);
  }, []);
  const changeLanguage = useCallback(async (language) => {
    await keepLanguage(language);
    redraw((n) => n + 1);
  }, []);
  useEffect(() => {
    let provider = false;
    const first = (found) => {
      provider = found.provider;
      adopt(found);
    };
    get("/console/session").then(first, () => adopt({ signed_in: false }));
    const out = () => adopt({ signed_in: false, ended: true, provider });
    const renew = async ({ detail: refused }) => {
      const found = await get("/console/session").catch(() => null);
      if (found === null || found.csrf_token === refused) return;
      adopt(found.signed_in ? found : { ...found, ended: true });
      if (found.signed_in) tell(t("signedInAnew", { name: found.name }), "bad");
    };
    addEventListener("signed-out", out);
    addEventListener("signed-in-anew", renew);
    return () => {
      removeEventListener("signed-out", out);
      removeEventListener("signed-in-anew", renew);
    };
  }, [adopt]);
  if (session === null) return null;
  if (!session.signed_in) {
    return html`<${SignIn} ended=${session.ended} provider=${session.provider} onDone=${adopt} onLanguage=${changeLanguage} /><${Told} />`;
  }
  return html`<${Routed} session=${session} onLeave=${adopt} onLanguage=${changeLanguage} /><${Told} />`;
}

/** Outcomes that the desk kept with the tab are sent whatever page is loaded first, and whoever closes the tab is asked. */
async function sendKept(isSignedIn) {
  if ((sessionStorage.getItem("nextbest.outbox") ?? "[]") === "[]") return;
  const { work } = await import("./lib/outbox.js");
  if (isSignedIn) work();
}

/** The first page that a role sees where the address names none for it. */
const landing = () => PAGES.find((page) => page.key && may(...page.roles));

function find(path) {
  for (const page of PAGES) {
    const parts = match(page.at, path);
    if (parts) return { page, parts };
  }
  return null;
}

function Routed({ session, onLeave, onLanguage }) {
  const [address, setAddress] = useState(location.pathname + location.search);
  const [shown, setShown] = useState(null);
  useEffect(() => onChange(() => setAddress(location.pathname + location.search)), []);
  useEffect(() => {
    let left = false;
    const path = address.split("?")[0];
    const found = find(path);
    if (path.replace(/\/$/, "") === "/console" && !may(...found.page.roles)) {
      go(landing().at, { replace: true });
      return undefined;
    }
    if (!found || !may(...found.page.roles)) {
      setShown({ problem: t(found ? "notAllowed" : "noSuchPage") });
      return undefined;
    }
    found.page.load().then(
      (module) => !left && setShown({ ...found, View: module.default, address }),
      (error) => !left && setShown({ problem: error.message }),
    );
    return () => {
      left = true;
    };
  }, [address, session]);
  useEffect(() => {
    // A screen reader starts at the new page, and so does the eye.
    document.querySelector("main")?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, [shown?.address]);
  const current = shown?.page?.key ?? shown?.page?.parent;
  return html`<${Shell} ...${{ session, current, onLeave, onLanguage }}>
    ${shown?.problem && html`<${Failure} error=${{ message: shown.problem }} />`}
    ${shown?.View && html`<${shown.View} key=${shown.address} ...${shown.parts} session=${session} />`}
  <//>`;
}

applyTheme();
await useLanguage(preferredLanguage());
const place = document.getElementById("app");
place.replaceChildren();
render(html`<${Console} />`, place);

// The door: a key, or a provider's word, in exchange for a session, which the page itself cannot read.
import { html, useEffect, useState } from "../lib/ui.js";
import { post } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { Field, Input } from "../lib/widgets.js";
import { icon, Switches } from "../shell.js";

/** Why the provider's word let nobody in, as the service put it into the address. */
const refusals = ["away", "cancelled", "stale", "refused", "role"];

export function SignIn({ ended, provider, onDone, onLanguage }) {
  const refused = new URLSearchParams(location.search).get("refused");
  const [key, setKey] = useState("");
  const [mistake, setMistake] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => {
    document.title = `${t("signIn")} · nextbest`;
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      onDone(await post("/console/session", { key }));
    } catch (error) {
      setMistake(error.status === 401 ? t("wrongKey") : error.message);
      setBusy(false);
    }
  };
  return html`<main class="door">
    <form class="card" onSubmit=${submit}>
      <div class="brand"><img src=${icon} alt="" /><h1>nextbest</h1></div>
      ${ended && html`<div class="note warn" role="alert">${t("sessionEnded")}</div>`}
      ${refusals.includes(refused) && html`<div class="note warn" role="alert">${t(`refused.${refused}`)}</div>`}
      ${provider && html`<a class="button primary" href="/console/oidc">${t("signInElsewhere")}</a>`}
      <${Field} label=${t("key")} hint=${t("keyHint")} mistake=${mistake}>
        ${(a) => html`<${Input} ...${a} type="password" value=${key} onValue=${setKey} required autocomplete="current-password" autofocus=${!provider} />`}
      <//>
      <button class=${provider ? "" : "primary"} disabled=${busy}>${t("signIn")}</button>
      <${Switches} onLanguage=${onLanguage} />
    </form>
  </main>`;
}

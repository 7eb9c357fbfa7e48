// An alert from a report: on acceptance, within what the report is about, after saying what it will do.
import { html, useLayoutEffect, useRef, useState } from "../lib/ui.js";
import { part, put } from "../lib/api.js";
import { AddTo } from "../lib/changesets.js";
import { duration, number, share } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { may, mayChange } from "../lib/roles.js";
import { Failure, Field, Input, mistakeIn, Select, tell } from "../lib/widgets.js";
import { asciiOf } from "./offer.js";

const DAY_S = 86400;
/** What can be watched of acceptance, with the threshold, in percent, that the service takes by itself. */
const WATCHES = { acceptance_drop: 20, drift: 0 };
const DEFAULT_DAYS = 7;
const MOST_DAYS = 366;
/** As an attribute of an input, whose expressions want the hyphen escaped. */
const ID_FORM = "[A-Za-z0-9][A-Za-z0-9._\\-]*";
const isId = (text) => new RegExp(`^${ID_FORM}$`).test(text);

/** Length of the report in whole days that are over, as far as an alert may look; a week where it has no beginning. */
function daysOf(since, until) {
  if (!since) return DEFAULT_DAYS;
  const end = until ? Date.parse(until) : Date.now();
  return Math.min(Math.max(Math.floor((end - Date.parse(since)) / (1000 * DAY_S)), 1), MOST_DAYS);
}

/** Shown to those who may declare alerts. `placement`, `offer`: the report's filter, empty for all. */
export function AlertButton(report) {
  const [open, setOpen] = useState(false);
  if (!may("ops")) return null;
  return html`<button onClick=${() => setOpen(true)}>${t("alertWhen")}</button>
    ${open && html`<${AlertForm} ...${report} onClose=${() => setOpen(false)} />`}`;
}

/** An id that says what is watched and where; one may change it. */
const idOf = (watches, placement, offer) => [watches.replaceAll("_", "-"), placement, offer].filter(Boolean).join("-").slice(0, 64);

function AlertForm({ placement, offer, since, until, onClose }) {
  const dialog = useRef(null);
  const [watches, setWatches] = useState("acceptance_drop");
  const [percent, setPercent] = useState(WATCHES.acceptance_drop);
  const [days, setDays] = useState(daysOf(since, until));
  const [id, setId] = useState(null);
  const [webhook, setWebhook] = useState("");
  const [secret, setSecret] = useState("");
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  // Before it is painted, so that no key is pressed at a dialog that is not open yet.
  useLayoutEffect(() => dialog.current.showModal(), []);
  const alertId = id ?? idOf(watches, placement, offer);
  const path = `/v1/alert-rules/${part(alertId)}`;
  const body = {
    watches,
    threshold: percent / 100,
    window_s: Math.round(days * DAY_S),
    ...(placement && { placement }),
    ...(offer && { offer }),
    ...(webhook && { webhook }),
    ...(secret && { secret }),
  };
  const refuse = (problem) => setError(problem.status === 412 ? { message: t("idTaken"), errors: [{ field: "alert_id", reason: t("idTaken") }] } : problem);
  const mistake = (field) => mistakeIn(error, field);
  const choose = (chosen) => {
    setWatches(chosen);
    setPercent(WATCHES[chosen]);
  };
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await put(path, body, { "If-None-Match": "*", "X-Reason": asciiOf(reason) });
      tell(t("alertMade", { id: alertId }));
      onClose();
    } catch (problem) {
      refuse(problem);
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="alert-title" onClose=${onClose}>
    <form class="stack" onSubmit=${mayChange() ? save : (event) => event.preventDefault()}>
      <h2 id="alert-title">${t("alertWhen")}</h2>
      <${Field} label=${t("alertWatches")}>${(a) => html`<${Select} ...${a} value=${watches} onValue=${choose} options=${Object.keys(WATCHES).map((w) => [w, t(`watches.${w}`)])} />`}<//>
      <div class="fields">
        <${Field} label=${t(`alertThreshold.${watches}`)} mistake=${mistake("threshold")}>${(a) => html`<input ...${a} type="number" min="0" max="100" step="any" required value=${percent} onInput=${(e) => setPercent(Number(e.currentTarget.value))} />`}<//>
        <${Field} label=${t("alertDays")} mistake=${mistake("window_s")}>${(a) => html`<input ...${a} type="number" min="1" max=${MOST_DAYS} step="1" required value=${days} onInput=${(e) => setDays(Number(e.currentTarget.value))} />`}<//>
      </div>
      <${Field} label=${t("alertId")} mistake=${mistake("alert_id") ?? mistake("thing") ?? mistake("thing_id")}>${(a) => html`<${Input} ...${a} value=${alertId} onValue=${setId} required maxlength="64" pattern=${ID_FORM} autocomplete="off" spellcheck="false" />`}<//>
      <${Field} label=${t("alertWebhook")} hint=${t("alertWebhookHint")} mistake=${mistake("webhook")}>${(a) => html`<${Input} ...${a} value=${webhook} onValue=${setWebhook} type="url" />`}<//>
      ${webhook && html`<${Field} label=${t("alertSecret")} hint=${t("alertSecretHint")} mistake=${mistake("secret")}>${(a) => html`<${Input} ...${a} value=${secret} onValue=${setSecret} autocomplete="off" spellcheck="false" />`}<//>`}
      <${WillDo} ...${{ watches, percent, days, placement, offer, webhook }} />
      ${mayChange() && html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>`}
      ${error && html`<${Failure} error=${error} />`}
      ${!mayChange() && html`<p>${t("approvalsRequired")}</p>`}
      <div class="row">
        ${mayChange() && html`<button class="primary" disabled=${busy}>${t("create")}</button>`}
        <button type="button" onClick=${onClose}>${t("cancel")}</button>
      </div>
      <${AddTo} whole=${path} kind="alert" thing=${alertId} body=${body} disabled=${!isId(alertId)} onDone=${onClose} onError=${refuse} />
    </form>
  </dialog>`;
}

/** In words: when it fires, where, and who is told. */
function WillDo({ watches, percent, days, placement, offer, webhook }) {
  const where = offer
    ? t(placement ? "alertWhere.both" : "alertWhere.offer", { offer, placement })
    : t(placement ? "alertWhere.placement" : "alertWhere.all", { placement });
  const when = t(`alertFires.${watches}`, { share: watches === "drift" ? number(percent, 2) : share(percent / 100, 2), time: duration(Math.max(days, 1) * DAY_S) });
  return html`<div class="note" data-testid="will-do" aria-live="polite">${when} ${where} ${t(webhook ? "alertTells" : "alertShows")}</div>`;
}

// How an offer is put, by channel and language, as a real customer would read it.
import { html, useState } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { t } from "../lib/i18n.js";
import { Badge, Card, Failure, Field } from "../lib/widgets.js";
import { TreatmentForm } from "./treatment_form.js";
import { TreatmentRemoval } from "./treatment_removal.js";

const FILTERS = {
  upper: (text) => text.toUpperCase(),
  lower: (text) => text.toLowerCase(),
  title: (text) => text.replace(/\p{L}+/gu, (word) => word[0].toUpperCase() + word.slice(1).toLowerCase()),
  capitalize: (text) => text.charAt(0).toUpperCase() + text.slice(1).toLowerCase(),
};

/** The value of a variable, for a customer; empty if there is none. */
function valueOf(path, offer, customer) {
  if (path === "offer.name") return offer.name;
  if (path === "offer.value") return offer.value;
  const [kind, ...rest] = path.split(".");
  const name = rest.join(".");
  if (kind === "offer") return offer.attributes?.[name];
  if (kind !== "customer" || !customer) return undefined;
  return customer.attributes?.[name] ?? customer.indicators?.[name];
}

/** A text with its variables filled in, as a preview: the server's own filters, but for rounding and joining. */
export function preview(text, treatment, offer, customer) {
  return text.replace(/\{\{\s*([\w.]+)\s*((?:\|[^}]*)?)\}\}/g, (_, path, filters) => {
    const otherwise = /default\(\s*'([^']*)'\s*\)/.exec(filters)?.[1];
    const found = valueOf(path, offer, customer);
    if (found === undefined || found === "") return treatment.fallbacks?.[path] ?? otherwise ?? "…";
    return filters
      .split("|")
      .map((name) => FILTERS[name.trim()])
      .filter(Boolean)
      .reduce((shown, filter) => filter(shown), String(found));
  });
}

export function Treatments({ offer, channels, vocabulary, locked, reload }) {
  const [id, setId] = useState("");
  const [customer, setCustomer] = useState(null);
  const [error, setError] = useState(null);
  const [isNew, setNew] = useState(false);
  const find = async () => {
    try {
      setCustomer(id ? await get(`/v1/customers/${part(id)}`) : null);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  const form = { offer, channels, vocabulary };
  const said = (text, treatment) => preview(text, treatment, offer, customer);
  return html`<${Card} title=${t("treatments")}>
    <${Field} label=${t("previewFor")} hint=${t("previewHint")}>
      ${(a) => html`<div class="row"><input ...${a} value=${id} onInput=${(e) => setId(e.currentTarget.value)} style=${{ width: "12rem" }} /><button type="button" onClick=${find}>${t("show")}</button></div>`}
    <//>
    ${error && html`<${Failure} error=${error} />`}
    ${customer && html`<p class="small" role="status">${t("previewedFor", { id: customer.customer_id })}</p>`}
    ${offer.treatments.length === 0 && html`<p class="empty">${t("noTreatments")}</p>`}
    ${offer.treatments.map((treatment) => html`<${Treatment} key=${treatment.treatment_id} ...${{ treatment, form, said, locked, reload }} />`)}
    ${!locked && !isNew && html`<p><button type="button" onClick=${() => setNew(true)}>${t("addTreatment")}</button></p>`}
    ${isNew &&
    html`<div class="card">
      <h3>${t("newTreatment")}</h3>
      <${TreatmentForm} ...${form} said=${said} onDone=${() => setNew(false)} onSaved=${() => { setNew(false); reload(); }} />
    </div>`}
  <//>`;
}

/** A treatment as it is read: of the catalogue with its variables, or of an answer with its texts filled in. */
export function Texts({ of: treatment, said = (text) => text }) {
  const { script } = treatment;
  return html`<div lang=${treatment.language}>
    <p><strong>${said(treatment.title)}</strong></p>
    ${treatment.message && html`<p>${said(treatment.message)}</p>`}
    ${treatment.button && html`<p><span class="badge accent">${said(treatment.button)}</span></p>`}
    ${treatment.legal && html`<p class="muted small">${said(treatment.legal)}</p>`}
    ${script &&
    html`<ol class="small">${script.steps.map((s) => html`<li>${said(s.text)}${s.when && html` <code>${s.when}</code>`}</li>`)}</ol>
      ${script.objections.map((o) => html`<p class="objection small"><strong>${said(o.objection)}</strong> ${said(o.answer)}</p>`)}`}
  </div>`;
}

function Treatment({ treatment: listed, form, said, locked, reload }) {
  const [doing, setDoing] = useState("");
  const [seen, setSeen] = useState(null);
  const treatment = seen ?? listed;
  const end = () => {
    setDoing("");
    setSeen(null);
  };
  const saved = () => {
    end();
    reload();
  };
  return html`<div class="card">
    <div class="row"><${Badge} kind="accent">${treatment.channel}<//><${Badge}>${treatment.language}<//><span class="muted small">${treatment.treatment_id}</span></div>
    ${doing === "edit"
      ? html`<${TreatmentForm} ...${form} ...${{ treatment, said }} onDone=${end} onSaved=${saved} />`
      : html`<${Texts} of=${treatment} said=${(text) => said(text, treatment)} />`}
    ${doing === "removal" && html`<${TreatmentRemoval} offer=${form.offer} ...${{ treatment, seen: setSeen }} onDone=${end} onSaved=${saved} />`}
    ${!locked &&
    !doing &&
    html`<div class="row">
      <button type="button" class="small" aria-label=${t("editTreatment", { treatment: treatment.treatment_id })} onClick=${() => setDoing("edit")}>${t("edit")}</button>
      <button type="button" class="small danger" aria-label=${t("removeTreatment", { treatment: treatment.treatment_id })} onClick=${() => setDoing("removal")}>${t("remove")}</button>
    </div>`}
  </div>`;
}

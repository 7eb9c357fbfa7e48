// A treatment as it is written: a new one, or what is changed of one, with its script.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { getTagged, idPart, part, patch, put } from "../lib/api.js";
import { CelInput } from "../lib/cel.js";
import { AddTo } from "../lib/changesets.js";
import { language, t } from "../lib/i18n.js";
import { Meanwhile, readNewer } from "../lib/meanwhile.js";
import { useIdMistake } from "../lib/new_id.js";
import { mayChange } from "../lib/roles.js";
import { Failure, Field, Input, mistakeIn, Select, tell } from "../lib/widgets.js";
import { attributesOf, mistakeInRow, rowsOf, TreatmentAttributes } from "./treatment_attributes.js";

const PLAIN = ["channel", "language", "title", "message"];
const OPTIONAL = ["image", "link", "button", "legal"];

/** A treatment as the form holds it: lists of rows, and texts that may be empty. */
const formOf = (treatment) => ({
  ...Object.fromEntries([...PLAIN, ...OPTIONAL].map((name) => [name, treatment[name] ?? ""])),
  fallbacks: Object.entries(treatment.fallbacks ?? {}),
  attributes: rowsOf(treatment.attributes ?? {}),
  steps: (treatment.script?.steps ?? []).map((step) => ({ ...step, when: step.when ?? "" })),
  objections: treatment.script?.objections ?? [],
});

/** The body that a form stands for. */
const bodyOf = ({ fallbacks, attributes, steps, objections, ...form }) => ({
  ...Object.fromEntries(PLAIN.map((name) => [name, form[name]])),
  ...Object.fromEntries(OPTIONAL.map((name) => [name, form[name] || null])),
  fallbacks: Object.fromEntries(fallbacks.filter(([path]) => path)),
  attributes: attributesOf(attributes),
  script: steps.length + objections.length === 0 ? null : { steps: steps.map((step) => ({ ...step, when: step.when.trim() || null })), objections },
});

/** The entries of an object that are others than before. */
const changedIn = (before, now) => Object.fromEntries(Object.entries(now).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));

/** What takes `before` to `now`, as a merge patch: of fallbacks and attributes those that changed, and null for those that are gone. */
function changesOf(before, now) {
  const changed = changedIn(before, now);
  for (const field of ["fallbacks", "attributes"]) {
    const gone = Object.keys(before[field]).filter((name) => !(name in now[field]));
    const found = { ...changedIn(before[field], now[field]), ...Object.fromEntries(gone.map((name) => [name, null])) };
    if (Object.keys(found).length > 0) changed[field] = found;
    else delete changed[field];
  }
  return changed;
}

/** A body with the changes of a merge patch. */
function patched(body, { fallbacks = {}, attributes = {}, ...others }) {
  const merged = (before, changes) => Object.fromEntries(Object.entries({ ...before, ...changes }).filter(([, value]) => value !== null));
  return { ...body, ...others, fallbacks: merged(body.fallbacks, fallbacks), attributes: merged(body.attributes, attributes) };
}

/** What a field is called. */
const LABELS = { title: "title", message: "message", channel: "channel", language: "language", image: "image", link: "link", button: "buttonText", legal: "legalText", script: "script", fallbacks: "fallbacks", attributes: "treatmentAttributes" };

/** `treatment`: the one that is changed; without it a new one is written. `said`: a text as it would be read now. */
export function TreatmentForm({ offer, treatment, channels, vocabulary, said, onDone, onSaved }) {
  const [id, setId] = useState("");
  const [form, setForm] = useState(() => formOf(treatment ?? { channel: channels[0], language }));
  const [before, setBefore] = useState(treatment);
  const [etag, setEtag] = useState(null);
  const [theirs, setTheirs] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const first = useRef(null);
  const name = treatment?.treatment_id ?? id;
  const under = `/v1/offers/${part(offer.offer_id)}/treatments`;
  const path = `${under}/${idPart(name)}`;
  const idMistake = useIdMistake(treatment ? "" : id, under);
  useEffect(() => {
    first.current.querySelector("input, select").focus();
    if (!treatment) return;
    // What is changed is what is shown: somebody else's change since then is not written over.
    getTagged(path).then(({ answer, etag: found }) => {
      if (JSON.stringify(formOf(answer)) !== JSON.stringify(formOf(treatment))) setForm(formOf(answer));
      setBefore(answer);
      setEtag(found);
    }, setError);
  }, []);
  const set = (changed) => setForm((old) => ({ ...old, ...changed }));
  const mistake = (...fields) => fields.map((field) => mistakeIn(error, field)).find(Boolean);
  const body = treatment ? changesOf(bodyOf(formOf(before)), bodyOf(form)) : bodyOf(form);
  const isWrong = form.attributes.some((_, i) => mistakeInRow(form.attributes, i));
  const isEmpty = isWrong || (treatment ? Object.keys(body).length === 0 || etag === null : !id || !form.title);
  const refuse = (problem) => setError(!treatment && problem.status === 412 ? { ...problem, message: t("idTaken"), errors: [{ field: "treatment_id", reason: t("idTaken") }] } : problem);
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const answer = await (treatment ? patch(path, body, { "If-Match": etag }) : put(path, body, { "If-None-Match": "*" }));
      tell(t("savedTreatment", { treatment: name }));
      for (const warning of answer.warnings ?? []) tell(`${warning.field}: ${warning.message}`, "warn");
      onSaved();
    } catch (problem) {
      if (treatment && problem.status === 412) await readNewer(path, etag).then(setTheirs, setError);
      else refuse(problem);
      setBusy(false);
    }
  };
  const goOn = (isKept) => {
    const now = bodyOf(formOf(theirs.answer));
    setForm(formOf(isKept ? patched(now, body) : now));
    setBefore(theirs.answer);
    setEtag(theirs.etag);
    setTheirs(null);
    setError(null);
  };
  const shown = bodyOf(form);
  const text = (field, label, rows) =>
    html`<${Field} label=${label} mistake=${mistake(field)}>
      ${(a) => (rows ? html`<textarea ...${a} value=${form[field]} onInput=${(e) => set({ [field]: e.currentTarget.value })}></textarea>` : html`<${Input} ...${a} value=${form[field]} onValue=${(v) => set({ [field]: v })} />`)}
    <//>`;
  return html`<form ref=${first} class="stack" data-testid="treatment-form" onSubmit=${mayChange() ? save : (event) => event.preventDefault()}>
    ${!treatment && html`<${Field} label=${t("treatmentId")} mistake=${mistake("treatment_id", "thing") ?? idMistake}>${(a) => html`<${Input} ...${a} value=${id} onValue=${(v) => { setId(v); setError(null); }} required autocomplete="off" spellcheck="false" />`}<//>`}
    <div class="fields">
      <${Field} label=${t("channel")} mistake=${mistake("channel")}>
        ${(a) => html`<${Select} ...${a} value=${form.channel} onValue=${(channel) => set({ channel })} options=${[...new Set([...channels, form.channel])].map((c) => [c, c])} />`}
      <//>
      ${text("language", t("language"))}
    </div>
    ${text("title", t("title"))} ${text("message", t("message"), 3)}
    <div class="fields">${text("button", t("buttonText"))} ${text("link", t("link"))} ${text("image", t("image"))}</div>
    ${text("legal", t("legalText"), 2)}
    <${Fallbacks} rows=${form.fallbacks} onRows=${(fallbacks) => set({ fallbacks })} ...${{ vocabulary, mistake }} />
    <${TreatmentAttributes} rows=${form.attributes} onRows=${(attributes) => set({ attributes })} mistake=${mistake} />
    <${Script} ...${{ form, set, vocabulary, mistake }} />
    ${error && html`<${Failure} error=${error} />`}
    ${theirs && html`<${Meanwhile} before=${bodyOf(formOf(before))} theirs=${bodyOf(formOf(theirs.answer))} mine=${bodyOf(form)} nameOf=${(name) => t(LABELS[name])} onKeep=${() => goOn(true)} onDiscard=${() => goOn(false)} />`}
    ${form.title && html`<p class="small"><strong>${said(form.title, shown)}</strong> ${said(form.message, shown)}</p>`}
    <div class="row">${mayChange() && html`<button class="primary" disabled=${busy || theirs !== null || isEmpty}>${t("save")}</button>`}<button type="button" onClick=${onDone}>${t("cancel")}</button></div>
    <${AddTo} whole=${!treatment && path} kind="treatment" thing=${`${offer.offer_id}/${name}`} body=${body} disabled=${isEmpty} onDone=${onDone} onError=${refuse} />
  </form>`;
}

export const without = (list, i) => list.filter((_, n) => n !== i);
export const changedAt = (list, i, changed) => list.map((one, n) => (n === i ? changed : one));

/** What is said for variables that have no value. */
function Fallbacks({ rows, onRows, vocabulary, mistake }) {
  const names = vocabulary.filter((n) => n.path.startsWith("customer.") || n.path.startsWith("context."));
  return html`<fieldset class="plain-fieldset stack">
    <legend><strong>${t("fallbacks")}</strong> <span class="muted small">${t("fallbacksHint")}</span></legend>
    <datalist id="fallback-names">${names.map((n) => html`<option value=${n.path} />`)}</datalist>
    ${rows.map(
      ([path, text], i) => html`<div class="fields" key=${i}>
        <${Field} label=${t("variable", { n: i + 1 })} mistake=${mistake(`fallbacks.${path}`)}>${(a) => html`<${Input} ...${a} list="fallback-names" value=${path} onValue=${(v) => onRows(changedAt(rows, i, [v, text]))} />`}<//>
        <${Field} label=${t("fallback", { n: i + 1 })}>${(a) => html`<${Input} ...${a} value=${text} onValue=${(v) => onRows(changedAt(rows, i, [path, v]))} />`}<//>
        <div><button type="button" class="small danger" onClick=${() => onRows(without(rows, i))}>${t("removeFallback", { n: i + 1 })}</button></div>
      </div>`,
    )}
    <div><button type="button" class="small" onClick=${() => onRows([...rows, ["", ""]])}>${t("addFallback")}</button></div>
  </fieldset>`;
}

/** An id for another step that none of them has. */
function freeId(steps) {
  let n = steps.length + 1;
  while (steps.some((step) => step.step_id === `step-${n}`)) n += 1;
  return `step-${n}`;
}

/** What an agent says, step by step, and answers to what customers object. */
function Script({ form, set, vocabulary, mistake }) {
  const { steps, objections } = form;
  const step = (i, changed) => set({ steps: changedAt(steps, i, { ...steps[i], ...changed }) });
  const objection = (i, changed) => set({ objections: changedAt(objections, i, { ...objections[i], ...changed }) });
  const at = (i, field) => mistake(`script.steps.${i}.${field}`, `script.steps.${steps[i].step_id}.${field}`);
  return html`<fieldset class="plain-fieldset stack">
    <legend><strong>${t("script")}</strong> <span class="muted small">${t("scriptHint")}</span></legend>
    ${steps.map(
      (one, i) => html`<div class="stack" key=${`step ${i}`}>
        <${Field} label=${t("stepId", { n: i + 1 })} mistake=${at(i, "step_id")}>${(a) => html`<${Input} ...${a} value=${one.step_id} onValue=${(v) => step(i, { step_id: v })} spellcheck="false" />`}<//>
        <${Field} label=${t("stepText", { n: i + 1 })} mistake=${at(i, "text")}>${(a) => html`<textarea ...${a} value=${one.text} onInput=${(e) => step(i, { text: e.currentTarget.value })}></textarea>`}<//>
        <${Field} label=${t("stepWhen", { n: i + 1 })} mistake=${at(i, "when")}>${(a) => html`<${CelInput} ...${a} value=${one.when} onValue=${(v) => step(i, { when: v })} vocabulary=${vocabulary} />`}<//>
        <div><button type="button" class="small danger" onClick=${() => set({ steps: without(steps, i) })}>${t("removeStep", { n: i + 1 })}</button></div>
      </div>`,
    )}
    <div><button type="button" class="small" onClick=${() => set({ steps: [...steps, { step_id: freeId(steps), text: "", when: "" }] })}>${t("addStep")}</button></div>
    ${objections.map(
      (one, i) => html`<div class="stack" key=${`objection ${i}`}>
        <${Field} label=${t("objectionText", { n: i + 1 })} mistake=${mistake(`script.objections.${i}.objection`)}>${(a) => html`<${Input} ...${a} value=${one.objection} onValue=${(v) => objection(i, { objection: v })} />`}<//>
        <${Field} label=${t("objectionAnswer", { n: i + 1 })} mistake=${mistake(`script.objections.${i}.answer`)}>${(a) => html`<textarea ...${a} value=${one.answer} onInput=${(e) => objection(i, { answer: e.currentTarget.value })}></textarea>`}<//>
        <div><button type="button" class="small danger" onClick=${() => set({ objections: without(objections, i) })}>${t("removeObjection", { n: i + 1 })}</button></div>
      </div>`,
    )}
    <div><button type="button" class="small" onClick=${() => set({ objections: [...objections, { objection: "", answer: "" }] })}>${t("addObjection")}</button></div>
    ${mistake("script.steps") && html`<p class="mistake">${mistake("script.steps")}</p>`}
    ${mistake("script.objections") && html`<p class="mistake">${mistake("script.objections")}</p>`}
  </fieldset>`;
}

// What else front ends need to know of a treatment: names with a text, a number, or yes or no.
import { html } from "../lib/ui.js";
import { t } from "../lib/i18n.js";
import { Field, Input, Select } from "../lib/widgets.js";
import { changedAt, without } from "./treatment_form.js";

const KINDS = ["string", "number", "boolean"];

/** Attributes as the form holds them: rows of a name, a kind, and the value as it is written. */
export const rowsOf = (attributes) => Object.entries(attributes).map(([name, value]) => ({ name, kind: typeof value, written: String(value) }));

/** The attributes that rows stand for; those without a name are none. */
export const attributesOf = (rows) => Object.fromEntries(rows.filter(({ name }) => name).map((row) => [row.name, valueOf(row)]));

const valueOf = ({ kind, written }) => (kind === "number" ? Number(written) : kind === "boolean" ? written === "true" : written);

/** What is wrong with a row before the server is asked: a value without a name, a name that is there already, or no number. */
export function mistakeInRow(rows, i) {
  const { name, kind, written } = rows[i];
  if (!name) return written ? { name: t("nameMissing") } : null;
  if (rows.findIndex((row) => row.name === name) < i) return { name: t("nameTaken") };
  return kind === "number" && (!written.trim() || !Number.isFinite(Number(written))) ? { value: t("numberMissing") } : null;
}

export function TreatmentAttributes({ rows, onRows, mistake }) {
  const change = (i, changed) => onRows(changedAt(rows, i, { ...rows[i], ...changed }));
  // Of another kind the text may say nothing.
  const written = (row, kind) => (kind === "boolean" ? String(row.written === "true") : row.written);
  return html`<fieldset class="plain-fieldset stack">
    <legend><strong>${t("treatmentAttributes")}</strong> <span class="muted small">${t("treatmentAttributesHint")}</span></legend>
    ${rows.map((row, i) => {
      const wrong = mistakeInRow(rows, i) ?? {};
      const n = i + 1;
      return html`<div class="fields" key=${i}>
        <${Field} label=${t("attributeName", { n })} mistake=${wrong.name ?? mistake(`attributes.${row.name}.[key]`)}>${(a) => html`<${Input} ...${a} value=${row.name} onValue=${(name) => change(i, { name })} spellcheck="false" autocomplete="off" />`}<//>
        <${Field} label=${t("attributeKind", { n })}>${(a) => html`<${Select} ...${a} value=${row.kind} onValue=${(kind) => change(i, { kind, written: written(row, kind) })} options=${KINDS.map((kind) => [kind, t(`kindOfValue.${kind}`)])} />`}<//>
        <${Field} label=${t("attributeValue", { n })} mistake=${wrong.value ?? mistake(`attributes.${row.name}`)}>
          ${(a) =>
            row.kind === "boolean"
              ? html`<${Select} ...${a} value=${row.written} onValue=${(v) => change(i, { written: v })} options=${[["true", t("yes")], ["false", t("no")]]} />`
              : html`<${Input} ...${a} value=${row.written} onValue=${(v) => change(i, { written: v })} inputmode=${row.kind === "number" ? "decimal" : undefined} />`}
        <//>
        <div><button type="button" class="small danger" onClick=${() => onRows(without(rows, i))}>${t("removeAttribute", { n })}</button></div>
      </div>`;
    })}
    <div><button type="button" class="small" onClick=${() => onRows([...rows, { name: "", kind: "string", written: "" }])}>${t("addAttribute")}</button></div>
  </fieldset>`;
}

// What offering is worth: customers who are held out, beside all others.
import { html, useLoad } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { number, share, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Card, Loaded, Table } from "../lib/widgets.js";

/** A card for each hold-out; nothing where there is none. */
export function Holdouts() {
  const loaded = useLoad(() => get("/v1/holdouts"));
  return html`<${Loaded} of=${loaded}>${(holdouts) => holdouts.map((holdout) => html`<${Holdout} key=${holdout.id} of=${holdout} />`)}<//>`;
}

/** How many customers are held out, and from what. */
export function withheld(holdout) {
  const what = holdout.goal ? t("holdoutGoal", { goal: t(`goal.${holdout.goal}`) }) : t("holdoutAll");
  return t("holdoutOf", { share: share(holdout.share), what });
}

function Holdout({ of }) {
  const loaded = useLoad(() => get(`/v1/reports/holdout/${encodeURIComponent(of.id)}`), [of.id]);
  return html`<${Card} title=${`${t("holdouts")}: ${of.name || of.id}`}>
    <p class="muted small">${withheld(of)}</p>
    <${Loaded} of=${loaded}>${(report) => html`<${Measures} report=${report} />`}<//>
  <//>`;
}

/** A figure with its 95 % interval, as far as both are known. */
export function between(row, name, digits) {
  const low = row[`${name}_low`];
  const figure = number(row[name], digits);
  return low === null ? figure : `${figure} (${number(low, digits)} – ${number(row[`${name}_high`], digits)})`;
}

function Measures({ report }) {
  const columns = [
    { label: t("measure"), cell: (row) => known(`measure.${row.measure}`, row.measure) },
    { label: t("treated"), number: true, cell: (row) => number(row.treated_mean, 4) },
    { label: t("heldOut"), number: true, cell: (row) => number(row.held_out_mean, 4) },
    { label: t("differencePerCustomer"), number: true, cell: (row) => between(row, "difference", 4) },
    { label: t("incremental"), number: true, cell: (row) => between(row, "incremental", 0) },
  ];
  const counts = { at: time(report.counted_from), treated: number(report.treated), heldOut: number(report.held_out) };
  return html`
    <p>${t("holdoutCustomers", counts)}</p>
    <${Table} label=${t("holdouts")} columns=${columns} rows=${report.measures.map((row) => ({ ...row, key: row.measure }))} />
    ${report.warnings.map((warning) => html`<p class="muted small" key=${warning.code}>${warning.message}</p>`)}
    <p class="muted small">${t("openOffers", { n: number(report.open) })}</p>`;
}

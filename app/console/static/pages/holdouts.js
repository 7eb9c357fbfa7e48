// What offering is worth: customers who are held out, beside all others.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, withQuery } from "../lib/api.js";
import { number, share, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Card, Field, Loaded, Select, Table } from "../lib/widgets.js";

const DIMENSIONS = ["day", "week", "month", "channel", "placement", "segment", "control_group"];
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

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
  const [by, setBy] = useState("");
  const path = `/v1/reports/holdout/${encodeURIComponent(of.id)}`;
  const loaded = useLoad(() => get(withQuery(path, { by, time_zone: ZONE })), [path, by]);
  const options = [["", "–"], ...DIMENSIONS.map((d) => [d, t(`dimension.${d}`)])];
  return html`<${Card} title=${`${t("holdouts")}: ${of.name || of.id}`}>
    <p class="muted small">${withheld(of)}</p>
    <div class="fields">
      <${Field} label=${t("divideBy")} hint=${t("divideByHint")}>${(a) => html`<${Select} ...${a} value=${by} onValue=${setBy} options=${options} />`}<//>
    </div>
    <${Loaded} of=${loaded}>${(report) => html`<${Measures} report=${report} />`}<//>
  <//>`;
}

/** A figure with its 95 % interval, as far as both are known. */
export function between(row, name, digits) {
  const low = row[`${name}_low`];
  const figure = number(row[name], digits);
  return low === null ? figure : `${figure} (${number(low, digits)} – ${number(row[`${name}_high`], digits)})`;
}

/** The value of a dimension in words. */
function inWords(dimension, value) {
  if (value === null) return t("none");
  return dimension === "control_group" ? known(`control.${value}`, value) : value;
}

function Measures({ report }) {
  const { by } = report;
  const columns = [
    ...(by ? [{ label: t(`dimension.${by}`), cell: (row) => inWords(by, row.part) }] : []),
    { label: t("measure"), cell: (row) => known(`measure.${row.measure}`, row.measure) },
    { label: t("treated"), number: true, cell: (row) => number(row.treated_mean, 4) },
    { label: t("heldOut"), number: true, cell: (row) => number(row.held_out_mean, 4) },
    { label: t("differencePerCustomer"), number: true, cell: (row) => between(row, "difference", 4) },
    { label: t("incremental"), number: true, cell: (row) => between(row, "incremental", 0) },
  ];
  const parts = by ? report.rows.map((row) => ({ ...row, part: row[by] })) : [report];
  const rows = parts.flatMap(({ part, measures }) => measures.map((row) => ({ ...row, part, key: `${part}/${row.measure}` })));
  const counts = { at: time(report.counted_from), treated: number(report.treated), heldOut: number(report.held_out) };
  return html`
    <p>${t("holdoutCustomers", counts)}</p>
    <${Table} label=${t("holdouts")} columns=${columns} rows=${rows} />
    ${report.warnings.map((warning) => html`<p class="muted small" key=${warning.code}>${warning.message}</p>`)}
    <p class="muted small">${t("openOffers", { n: number(report.open) })}</p>`;
}

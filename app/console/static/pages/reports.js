// Reports: dimensions are chosen, and the rows are shown as a picture, a table, and a file.
import { html, useLoad, useSettled, useState } from "../lib/ui.js";
import { get, withQuery } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { dayFromToday, number, share, signed } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Card, Field, Input, Interval, Loaded, Page, Select, Table } from "../lib/widgets.js";
import { Holdouts } from "./holdouts.js";
import { AlertButton } from "./report_alert.js";

const TIMES = ["day", "week", "month"];
const DIMENSIONS = [...TIMES, "offer", "group", "goal", "channel", "placement", "segment", "treatment", "policy", "control_group"];
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const SHOWN = 200;
const OFFER_ID = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export default function Reports() {
  const [first, setFirst] = useState("day");
  const [second, setSecond] = useState("");
  const [since, setSince] = useState(dayFromToday(-28));
  const [until, setUntil] = useState("");
  const [placement, setPlacement] = useState("");
  const [offer, setOffer] = useState("");
  const placements = useLoad(() => get("/v1/placements"));
  const typed = useSettled(offer.trim());
  const mistake = typed && !OFFER_ID.test(typed) ? t("noOfferId") : undefined;
  const by = [first, second].filter(Boolean);
  const scope = { placement, offer: OFFER_ID.test(typed) ? typed : "" };
  const parameters = { by: by.join(","), since, until, time_zone: ZONE, ...scope };
  const loaded = useLoad(() => get(withQuery("/v1/reports/offers", parameters)), [by.join(), since, until, placement, scope.offer]);
  const options = DIMENSIONS.map((d) => [d, t(`dimension.${d}`)]);
  const file = withQuery("/v1/reports/offers", { ...parameters, format: "csv" });
  return html`<${Page} title=${t("page.reports")} end=${html`${!mistake && html`<${AlertButton} ...${{ ...scope, since, until }} />`}<a class="button" href=${file} download="offers.csv">${t("downloadCsv")}</a>`}>
    <${Card}>
      <div class="fields">
        <${Field} label=${t("groupBy")}>${(a) => html`<${Select} ...${a} value=${first} onValue=${setFirst} options=${options} />`}<//>
        <${Field} label=${t("andBy")}>${(a) => html`<${Select} ...${a} value=${second} onValue=${setSecond} options=${[["", "–"], ...options.filter(([d]) => d !== first)]} />`}<//>
        <${Field} label=${t("sinceDay")}>${(a) => html`<${Input} ...${a} type="date" value=${since} onValue=${setSince} />`}<//>
        <${Field} label=${t("untilDay")}>${(a) => html`<${Input} ...${a} type="date" value=${until} onValue=${setUntil} />`}<//>
        <${Field} label=${t("placement")}>${(a) => html`<${Select} ...${a} value=${placement} onValue=${setPlacement} options=${[["", t("all")], ...(placements.data ?? []).map((p) => [p.placement_id, p.placement_id])]} />`}<//>
        <${Field} label=${t("offerId")} mistake=${mistake}>${(a) => html`<${Input} ...${a} value=${offer} onValue=${setOffer} placeholder=${t("all")} autocomplete="off" spellcheck="false" />`}<//>
      </div>
    <//>
    <${Loaded} of=${loaded}>${(report) => html`<${Shown} report=${report} by=${report.by} />`}<//>
    <${Holdouts} />
  <//>`;
}

/** Rates over time: one line, or one for each value of the other dimension, the busiest five. */
function lines(rows, by) {
  const time = by.find((d) => TIMES.includes(d));
  const other = by.find((d) => d !== time);
  const times = [...new Set(rows.map((row) => row[time]))].sort();
  const totals = new Map();
  for (const row of rows) totals.set(row[other] ?? "", (totals.get(row[other] ?? "") ?? 0) + row.observed);
  const names = other ? [...totals].sort(([, a], [, b]) => b - a).slice(0, 5).map(([name]) => name) : [""];
  const rate = (name, at) => rows.find((row) => row[time] === at && (row[other] ?? "") === name)?.rate ?? null;
  return { names, data: [times.map((at) => Date.parse(at) / 1000), ...names.map((name) => times.map((at) => rate(name, at)))] };
}

function meanValue({ value_mean: mean, value_low: low, value_high: high }) {
  return low === null ? number(mean, 2) : `${number(mean, 2)} (${number(low, 2)} – ${number(high, 2)})`;
}

const COLOURS = ["--accent", "--good", "--warn", "--bad", "--muted"];

function Shown({ report, by }) {
  const { rows } = report;
  const hasTime = by.some((d) => TIMES.includes(d));
  const most = Math.max(0.01, ...rows.filter((row) => row.rate !== null).map((row) => row.high));
  const words = (d, value) => (value === null || value === undefined ? t("none") : d === "control_group" ? known(`control.${value}`, value) : value);
  const columns = [
    ...by.map((d) => ({ label: t(`dimension.${d}`), cell: (row) => words(d, row[d]) })),
    ...["decided", "presented", "clicked", "accepted", "rejected"].map((step) => ({ label: t(`step.${step}`), number: true, cell: (row) => number(row[step]) })),
    { label: t("value"), number: true, cell: (row) => number(row.value) },
    { label: t("acceptance"), number: true, cell: (row) => share(row.rate) },
    { label: t("interval95short"), cell: (row) => html`<${Interval} ...${row} most=${most} />` },
    { label: t("liftShort"), number: true, cell: (row) => signed(row.lift) },
    { label: t("valueMean"), number: true, cell: meanValue },
  ];
  const { names, data } = hasTime ? lines(rows, by) : {};
  return html`
    ${hasTime && rows.length > 1 && html`<${Card} title=${t("acceptance")}>
      <${Chart} label=${t("acceptanceChart")} height=${200} series=${names.map((name, i) => ({ label: name || t("acceptance"), colour: COLOURS[i] }))} data=${data} />
    <//>`}
    <${Card}>
      <p class="muted small">${t("openOffers", { n: number(report.open) })}</p>
      <${Table} label=${t("page.reports")} columns=${columns} rows=${rows.slice(0, SHOWN).map((row, i) => ({ ...row, key: i }))} />
      ${rows.length > SHOWN && html`<p class="muted small">${t("firstRows", { n: number(SHOWN), of: number(rows.length) })}</p>`}
    <//>`;
}

// Calibration: what policies predicted against what came of it, by policy, offer, channel and time, and where it changed.
import { html, useLoad, useSettled, useState } from "../lib/ui.js";
import { get, withQuery } from "../lib/api.js";
import { Chart, Reliability } from "../lib/chart.js";
import { dayFromToday, number, share, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Badge, Card, Field, Input, Interval, Loaded, Page, Select, Table } from "../lib/widgets.js";

const DIMENSIONS = ["offer", "policy", "channel", "placement"];
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const SHOWN = 200;
const REPORT = "/v1/reports/calibration";
const OFFER_ID = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

export default function CalibrationPage() {
  const choices = useLoad(async () => {
    const [policies, placements] = await Promise.all([get("/v1/policies"), get("/v1/placements")]);
    return { policies: policies.map((p) => p.policy), channels: [...new Set(placements.map((p) => p.channel))].sort() };
  });
  return html`<${Page} title=${t("page.calibration")}>
    <${Loaded} of=${choices}>${(found) => html`<${Chosen} ...${found} />`}<//>
  <//>`;
}

function Chosen({ policies, channels }) {
  const [by, setBy] = useState("offer");
  const [policy, setPolicy] = useState("");
  const [channel, setChannel] = useState("");
  const [offer, setOffer] = useState("");
  const [since, setSince] = useState(dayFromToday(-28));
  const [until, setUntil] = useState("");
  const typed = useSettled(offer.trim());
  const scope = { policy, channel, since, until, time_zone: ZONE, offer: OFFER_ID.test(typed) ? typed : "" };
  const loaded = useLoad(async () => {
    const [report, weeks, drift] = await Promise.all([
      get(withQuery(REPORT, { ...scope, by })),
      get(withQuery(REPORT, { ...scope, by: "week", bins: 1 })),
      get(withQuery("/v1/reports/drift", { offer: scope.offer, limit: 20 })),
    ]);
    return { report, weeks: weeks.rows, drift: drift.detections };
  }, Object.values({ ...scope, by }));
  const all = (values) => [["", t("all")], ...values.map((v) => [v, v])];
  return html`
    <${Card}>
      <div class="fields">
        <${Field} label=${t("policy")}>${(a) => html`<${Select} ...${a} value=${policy} onValue=${setPolicy} options=${all(policies)} />`}<//>
        <${Field} label=${t("channel")}>${(a) => html`<${Select} ...${a} value=${channel} onValue=${setChannel} options=${all(channels)} />`}<//>
        <${Field} label=${t("offerId")}>${(a) => html`<${Input} ...${a} value=${offer} onValue=${setOffer} placeholder=${t("all")} />`}<//>
        <${Field} label=${t("sinceDay")}>${(a) => html`<${Input} ...${a} type="date" value=${since} onValue=${setSince} />`}<//>
        <${Field} label=${t("untilDay")}>${(a) => html`<${Input} ...${a} type="date" value=${until} onValue=${setUntil} />`}<//>
        <${Field} label=${t("groupBy")}>${(a) => html`<${Select} ...${a} value=${by} onValue=${setBy} options=${DIMENSIONS.map((d) => [d, t(`dimension.${d}`)])} />`}<//>
      </div>
    <//>
    <${Loaded} of=${loaded}>${(found) => html`<${Shown} ...${found} onOffer=${setOffer} />`}<//>
  `;
}

const figures = (most) => [
  { label: t("observations"), number: true, cell: (row) => number(row.observed) },
  { label: t("predicted"), number: true, cell: (row) => share(row.predicted) },
  { label: t("observed"), number: true, cell: (row) => share(row.rate) },
  { label: t("interval95short"), cell: (row) => html`<${Interval} ...${row} most=${most} />` },
  { label: t("fits"), cell: (row) => html`<${Badge} kind=${row.within ? "good" : "warn"}>${t(`calibrationIs.${row.within}`)}<//>` },
];
const highest = (rows) => Math.max(0.01, ...rows.map((row) => row.high));

function Shown({ report, weeks, drift, onOffer }) {
  const { total, bins } = report;
  const [by] = report.by;
  const named = (row) =>
    by === "offer"
      ? html`<button class="small" aria-label=${t("lookAtOffer", { offer: row.offer })} onClick=${() => onOffer(row.offer)}>${row.offer}</button>`
      : row[by] ?? t("none");
  const range = { label: t("predictedRange"), cell: (bin) => `${share(bin.least)} – ${share(bin.largest)}` };
  const lines = [weeks.map((w) => Date.parse(w.week) / 1000), weeks.map((w) => w.predicted), weeks.map((w) => w.rate)];
  if (total.observed === 0) return html`<p class="empty">${t("noPredictions")}</p>`;
  return html`
    <${Card} title=${t("reliability")}>
      <p class="muted small">${t("calibrationNote", { n: number(total.observed), error: share(report.error), brier: number(total.brier, 4) })}</p>
      <div class="two">
        <${Reliability} bins=${bins} words=${[t("perfect"), t("observed")]} label=${t("reliabilityChart")} />
        <${Table} label=${t("reliability")} columns=${[range, ...figures(highest(bins))]} rows=${bins.map((bin, i) => ({ ...bin, key: i }))} />
      </div>
    <//>
    <${Card} title=${t(`dimension.${by}`)}>
      <p class="muted small">${t("inIntervalHint")}</p>
      <${Table}
        label=${t(`dimension.${by}`)}
        columns=${[{ label: t(`dimension.${by}`), cell: named }, ...figures(highest(report.rows))]}
        rows=${report.rows.slice(0, SHOWN).map((row) => ({ ...row, key: row[by] }))}
      />
      ${report.rows.length > SHOWN && html`<p class="muted small">${t("firstRows", { n: number(SHOWN), of: number(report.rows.length) })}</p>`}
    <//>
    <${Card} title=${t("calibrationOverTime")}>
      ${weeks.length > 1 &&
      html`<${Chart} label=${t("calibrationOverTime")} height=${200} data=${lines}
        series=${[{ label: t("predicted"), colour: "--muted" }, { label: t("observed"), colour: "--accent" }]} />`}
      <${Table} label=${t("calibrationOverTime")} columns=${[{ label: t("dimension.week"), cell: (row) => row.week }, ...figures(highest(weeks))]} rows=${weeks.map((row) => ({ ...row, key: row.week }))} />
    <//>
    <${Card} title=${t("drifts")}>
      <${Table}
        label=${t("drifts")}
        empty=${t("noDrift")}
        columns=${[
          { label: t("offer"), cell: (d) => d.offer_id },
          { label: t("placement"), cell: (d) => d.placement },
          { label: t("detectedAt"), cell: (d) => time(d.detected_at) },
          { label: t("rateBefore"), number: true, cell: (d) => share(d.rate_before) },
          { label: t("rateAfter"), number: true, cell: (d) => share(d.rate_after) },
        ]}
        rows=${drift.map((d) => ({ ...d, key: `${d.placement} ${d.offer_id} ${d.detected_at}` }))}
      />
    <//>
  `;
}

// What a policy selected over time: the share of each of the offers that it selects most, and of the rest.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part, withQuery } from "../lib/api.js";
import { Shares } from "../lib/chart.js";
import { day, dayFromToday, number, share, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Field, Input, Loaded, Select, Table } from "../lib/widgets.js";

const COLOURS = ["--accent", "--good", "--warn", "--bad", "--extra"];
const REST = "--muted";
const STEP_S = { day: 86400, hour: 3600 };
const DAYS = { day: 28, hour: 2 };
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function SelectionShares({ name, version }) {
  const [per, setPer] = useState("day");
  const [since, setSince] = useState(dayFromToday(1 - DAYS.day));
  const [until, setUntil] = useState("");
  const parameters = { version, per, since, until, time_zone: ZONE, top: COLOURS.length };
  const loaded = useLoad(() => get(withQuery(`/v1/policies/${part(name)}/selections`, parameters)), [name, version, per, since, until]);
  const choose = (chosen) => {
    setPer(chosen);
    setSince(dayFromToday(1 - DAYS[chosen]));
    setUntil("");
  };
  return html`<${Card} title=${t("selectionsOverTime")} data-testid="selections">
    <div class="fields">
      <${Field} label=${t("perTime")}>${(a) => html`<${Select} ...${a} value=${per} onValue=${choose} options=${Object.keys(STEP_S).map((p) => [p, t(`every.${p}`)])} />`}<//>
      <${Field} label=${t("sinceDay")}>${(a) => html`<${Input} ...${a} type="date" value=${since} onValue=${setSince} />`}<//>
      <${Field} label=${t("untilDay")}>${(a) => html`<${Input} ...${a} type="date" value=${until} onValue=${setUntil} />`}<//>
    </div>
    <${Loaded} of=${loaded}>${(found) => html`<${Drawn} of=${found} />`}<//>
  <//>`;
}

const Swatch = ({ colour }) => html`<span class="swatch" style=${{ background: `var(${colour})` }}></span>`;

function Drawn({ of }) {
  if (of.total === 0) return html`<p class="empty">${t("noSelections")}</p>`;
  const others = of.offers - of.top.length;
  const named = of.top.map((offer, i) => ({ ...offer, key: offer.offer_id, label: offer.name ?? offer.offer_id, colour: COLOURS[i] }));
  const rows = others > 0 ? [...named, { key: "", label: t("otherOffers", { n: number(others) }), colour: REST, selected: of.rest, share: of.rest / of.total }] : named;
  const counts = (at) => (others > 0 ? [...at.selected, at.rest] : at.selected);
  const data = [of.times.map((at) => Date.parse(at.at) / 1000), ...rows.map((_, i) => of.times.map((at) => counts(at)[i] / at.total))];
  const columns = [
    { label: t("offer"), cell: (row) => html`<span><${Swatch} colour=${row.colour} /> ${row.key ? html`<a href=${`/console/offers/${part(row.key)}`}>${row.label}</a>` : row.label}</span>` },
    { label: t("shareOfSelections"), number: true, cell: (row) => share(row.share) },
    { label: t("selections"), number: true, cell: (row) => number(row.selected) },
  ];
  const said = t("selectionsChart", { shares: rows.map((row) => `${row.label} ${share(row.share)}`).join(", ") });
  return html`<div class="two">
      <${Shares} label=${said} colours=${rows.map((row) => row.colour)} step=${STEP_S[of.per]} data=${data} />
      <${Table} label=${t("shareOfSelections")} columns=${columns} rows=${rows} />
    </div>
    <${OverTime} of=${of} rows=${rows} counts=${counts} />`;
}

/** All figures of the picture, for whoever does not see it. */
function OverTime({ of, rows, counts }) {
  const [open, setOpen] = useState(false);
  const columns = [
    { label: t(`every.${of.per}`), cell: (at) => (of.per === "day" ? day(at.at) : time(at.at)) },
    { label: t("selections"), number: true, cell: (at) => number(at.total) },
    ...rows.map((row, i) => ({ label: row.label, number: true, cell: (at) => share(counts(at)[i] / at.total) })),
  ];
  return html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="small">${t("asTable")}</summary>
    ${open && html`<${Table} label=${t("selectionsOverTime")} columns=${columns} rows=${of.times.map((at) => ({ ...at, key: at.at }))} />`}
  </details>`;
}

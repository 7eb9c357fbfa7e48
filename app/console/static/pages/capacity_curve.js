// How a capacity is used over the day, against what there is of it; loaded when somebody opens it.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { number, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Loaded } from "../lib/widgets.js";

const HOUR_S = 3600;

export function DayCurve({ id, name }) {
  const [open, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="small" aria-label=${`${t("dayCurve")}: ${name}`}>${t("dayCurve")}</summary>
    ${open && html`<${Curve} id=${id} name=${name} />`}
  </details>`;
}

function Curve({ id, name }) {
  const loaded = useLoad(() => get(`/v1/reports/capacity/${part(id)}/hours`), [id]);
  return html`<${Loaded} of=${loaded}>${(found) => html`<${Drawn} of=${found} name=${name} />`}<//>`;
}

/** Of a day: all that was used by then, so that it climbs towards the limit. Of others: each hour for itself. */
function Drawn({ of, name }) {
  let sum = 0;
  const isDay = of.per === "day";
  const times = of.hours.map((hour) => Date.parse(hour.at) / 1000);
  const used = of.hours.map((hour) => (isDay ? (sum += hour.used) : hour.used));
  // A sum is that of the end of its hour, so it starts at nothing.
  const x = isDay ? [times[0], ...times.map((at) => at + HOUR_S)] : times;
  const lines = [isDay ? [0, ...used] : used];
  const series = [{ label: t("usedUnits"), colour: "--accent" }];
  if (of.per !== "total") {
    lines.push(x.map(() => of.max));
    series.push({ label: t("mostUnits"), colour: "--bad" });
  }
  const said = isDay
    ? t("capacityCurve", { at: time(of.hours[0].at), max: number(of.max) })
    : t(of.per === "hour" ? "capacityByHour" : "capacityHours", { max: number(of.max) });
  return html`<p class="muted small">${said}</p>
    <${Chart} series=${series} data=${[x, ...lines]} label=${`${name}: ${said}; ${used.map((n) => number(n)).join(", ")}`} />`;
}

// The always-valid test of a canary over time: the interval of the difference, the evidence, and where something happens.
import { html, useLoad, useState } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { number, share, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Loaded, Table } from "../lib/widgets.js";

const DASH = [6, 6];
const eValue = (logE) => {
  const e = Math.exp(logE);
  return e >= 1e6 || e < 1e-3 ? e.toExponential(0) : number(e, e < 1 ? 3 : 1);
};

/** The stages of canaries, newest first; that one is shown, and each other one when it is opened. */
export function CanaryCourses({ stages }) {
  if (stages.length === 0) return null;
  return html`<${Card} title=${t("course")}>${stages.map((stage, i) => html`<${CanaryCourse} key=${stage.test_id} stage=${stage} isOpen=${i === 0} />`)}<//>`;
}

function CanaryCourse({ stage, isOpen }) {
  const [open, setOpen] = useState(isOpen);
  return html`<details open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary><strong>${stage.canary.policy}@${stage.canary.version}</strong> <span class="muted small">${time(stage.started_at)} · ${share(stage.share)}</span></summary>
    ${open && html`<${Loading} id=${stage.test_id} until=${stage.counted_until} />`}
  </details>`;
}

function Loading({ id, until }) {
  const loaded = useLoad(() => get(`/v1/reports/canaries/${id}/course`), [id, until]);
  return html`<${Loaded} of=${loaded}>${(course) => html`<${Drawn} of=${course} />`}<//>`;
}

function Drawn({ of }) {
  const { points, needed_log_e: needed } = of;
  const last = points[points.length - 1];
  if (last.canary_observations + last.champion_observations === 0) return html`<p class="empty">${t("nothingCounted")}</p>`;
  const needs = eValue(needed);
  return html`<div class="stack" data-testid="course">
    <p class="small">${t("courseWorse", { e: eValue(last.worse_log_e), needed: needs })}</p>
    <p class="small">${t(of.promotes ? "courseBetterAutopilot" : "courseBetter", { e: eValue(last.better_log_e), needed: needs })}</p>
    <div class="grid wide"><${Difference} of=${of} last=${last} /><${Evidence} of=${of} needs=${needs} last=${last} /></div>
    ${of.missing > 0 && html`<p class="muted small">${t("courseMissing", { n: number(of.missing) })}</p>`}
    <${Figures} points=${points} />
  </div>`;
}

/** The interval as it was over time. It narrows: the first ones, which tell nothing, may reach beyond the picture. */
function Difference({ of, last }) {
  const { points, margin } = of;
  const times = points.map((p) => Date.parse(p.at) / 1000);
  const width = last.difference_high - last.difference_low;
  const range = [Math.max(Math.min(last.difference_low, -margin) - width, -1), Math.min(Math.max(last.difference_high, 0) + width, 1)];
  // Without a margin both bounds are one line, of which only the upper one would be seen.
  const bounds = margin > 0 ? [[t("rollsBackBelow"), "--bad", -margin], [t("betterAbove"), "--good", 0]] : [[t("bothBounds"), "--muted", 0]];
  const series = [
    { label: t("difference"), colour: "--accent" },
    { label: t("intervalLow"), colour: "--accent", dash: [2, 4] },
    { label: t("intervalHigh"), colour: "--accent", dash: [2, 4] },
    ...bounds.map(([label, colour]) => ({ label, colour, dash: DASH })),
  ];
  const data = [times, points.map((p) => p.difference), points.map((p) => p.difference_low), points.map((p) => p.difference_high), ...bounds.map(([, , value]) => times.map(() => value))];
  const said = t("differenceChart", { low: share(last.difference_low), high: share(last.difference_high), bound: share(-margin) });
  return html`<div>
    <h3>${t("differenceOverTime")}</h3>
    <${Chart} label=${said} height=${240} range=${range} values=${(v) => share(v)} band=${[3, 2]} series=${series} data=${data} />
  </div>`;
}

/** Evidence multiplies, so it is drawn on a scale of logarithms. */
function Evidence({ of, needs, last }) {
  const { points, needed_log_e: needed } = of;
  const log10 = (logE) => logE / Math.LN10;
  const lines = [points.map((p) => log10(p.worse_log_e)), points.map((p) => log10(p.better_log_e))];
  const all = lines.flat();
  const range = [Math.min(...all, -1), Math.max(...all, log10(needed)) + 0.3];
  const times = points.map((p) => Date.parse(p.at) / 1000);
  const series = [
    { label: t("evidenceWorse"), colour: "--bad" },
    { label: t("evidenceBetter"), colour: "--good" },
    { label: t("evidenceEnough", { needed: needs }), colour: "--muted", dash: DASH },
  ];
  const said = t("evidenceChart", { worse: eValue(last.worse_log_e), better: eValue(last.better_log_e), needed: needs });
  return html`<div>
    <h3>${t("evidenceOverTime")}</h3>
    <${Chart} label=${said} height=${240} range=${range} values=${(v) => eValue(v * Math.LN10)} series=${series} data=${[times, ...lines, times.map(() => log10(needed))]} />
  </div>`;
}

function Figures({ points }) {
  const [open, setOpen] = useState(false);
  const of = (accepted, observed) => `${number(accepted)} / ${number(observed)}`;
  const columns = [
    { label: t("courseAt"), cell: (p) => time(p.at) },
    { label: t("control.canary"), number: true, cell: (p) => of(p.canary_acceptances, p.canary_observations) },
    { label: t("control.champion"), number: true, cell: (p) => of(p.champion_acceptances, p.champion_observations) },
    { label: t("difference"), number: true, cell: (p) => `${share(p.difference)} (${share(p.difference_low)} – ${share(p.difference_high)})` },
    { label: t("evidenceWorse"), number: true, cell: (p) => eValue(p.worse_log_e) },
    { label: t("evidenceBetter"), number: true, cell: (p) => eValue(p.better_log_e) },
  ];
  return html`<details onToggle=${(event) => setOpen(event.currentTarget.open)}>
    <summary class="small">${t("asTable")}</summary>
    ${open && html`<${Table} label=${t("course")} columns=${columns} rows=${points.map((p) => ({ ...p, key: p.at }))} />`}
  </details>`;
}

// Finished evaluations side by side. A difference is stated only where the intervals have nothing in common.
import { html, useState } from "../lib/ui.js";
import { difference, isSameLog, obstacle } from "../lib/comparing.js";
import { number, share, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Badge, Card, Field, Interval, Select, Table } from "../lib/widgets.js";

const ESTIMATORS = ["earned", "ips", "snips", "dr"];
const OF_THE_TARGET = ESTIMATORS.slice(1);

const policyOf = (run) => run.policy ?? `${run.result.policy}@${run.result.version}`;
const nameOf = (run) => `${policyOf(run)} · ${run.placement} · ${t(`runStart.${run.result.start}`)}`;
const figure = (reward, value, digits = 2) => (reward === "value" ? number(value, digits + 1) : share(value, digits));

/** `runs`: the evaluations that are done, newest first. */
export function CompareRuns({ runs }) {
  const [chosen, setChosen] = useState([]);
  const [against, setAgainst] = useState("");
  if (runs.length < 2) return html`<${Card} title=${t("compareRuns")}><p class="empty">${t("compareNeedsTwo")}</p><//>`;
  const toggle = (id) => setChosen((old) => (old.includes(id) ? old.filter((x) => x !== id) : [...old, id]));
  const shown = runs.filter((run) => chosen.includes(run.evaluation_id));
  const base = shown.find((run) => run.evaluation_id === against) ?? shown[shown.length - 1];
  return html`<${Card} title=${t("compareRuns")} data-testid="compare">
    <fieldset class="plain-fieldset">
      <legend class="small muted">${t("compareWhich")}</legend>
      ${runs.map((run) => html`<label class="check"><input type="checkbox" checked=${chosen.includes(run.evaluation_id)} onChange=${() => toggle(run.evaluation_id)} /> ${nameOf(run)} <span class="muted small">${time(run.asked_at)}, ${run.evaluation_id}</span></label>`)}
    </fieldset>
    ${shown.length < 2
      ? html`<p class="empty">${t("compareChooseTwo")}</p>`
      : html`<${SideBySide} runs=${shown} />
          <h3>${t("differences")}</h3>
          <div class="fields">
            <${Field} label=${t("compareAgainst")}>${(a) => html`<${Select} ...${a} value=${base.evaluation_id} onValue=${setAgainst} options=${shown.map((run) => [run.evaluation_id, `${nameOf(run)} (${run.evaluation_id})`])} />`}<//>
          </div>
          <p class="muted small">${t("compareHint")}</p>
          ${shown.filter((run) => run !== base).map((run) => html`<${Against} key=${run.evaluation_id} run=${run} base=${base} />`)}`}
  <//>`;
}

function Estimate({ of, reward, most }) {
  if (!of) return html`<span class="muted small">${t("noEstimate")}</span>`;
  if (of.low === null) return html`<div><div>${figure(reward, of.value)}</div><div class="muted small">${of.reason}</div></div>`;
  return html`<div>
    <${Interval} rate=${of.value} low=${of.low} high=${of.high} most=${most} words=${(value) => figure(reward, value)} />
    <div class="small">${figure(reward, of.value)} (${figure(reward, of.low)} – ${figure(reward, of.high)})</div>
    ${of.reason && html`<div class="muted small">${of.reason}</div>`}
  </div>`;
}

function SideBySide({ runs }) {
  const estimates = runs.flatMap((run) => ESTIMATORS.map((name) => run.result.estimates?.[name])).filter(Boolean);
  const most = Math.max(0.01, ...estimates.map((e) => e.high ?? 0));
  const columns = [
    { label: t("estimator"), cell: (row) => t(`estimator.${row.key}`) },
    ...runs.map((run) => ({ label: `${policyOf(run)}, ${run.evaluation_id}`, cell: (row) => html`<${Estimate} of=${run.result.estimates?.[row.key]} reward=${run.result.reward} most=${most} />` })),
  ];
  return html`<${Table} label=${t("compareRuns")} columns=${columns} rows=${ESTIMATORS.map((key) => ({ key }))} />
    ${runs.map(({ evaluation_id: id, result, ...run }) => html`<div key=${id}>
      <p class="muted small"><strong>${nameOf({ ...run, result })}, ${id}</strong> ${time(result.from)} – ${time(result.to)}; ${result.estimates
        ? t("effectiveRows", { rows: number(result.estimates.rows), effective: number(result.estimates.effective_rows), weight: number(result.estimates.largest_weight, 1) })
        : t("noEstimate")}</p>
      ${result.warnings.map((warning) => html`<div class="note warn">${warning}</div>`)}
    </div>`)}`;
}

const KINDS = { more: "good", less: "bad", unclear: "", refused: "warn" };

/** What can be said of one run against the other. */
function Against({ run, base }) {
  const stands = obstacle(run.result, base.result);
  const title = t("comparedWith", { one: `${nameOf(run)} (${run.evaluation_id})`, other: `${nameOf(base)} (${base.evaluation_id})` });
  if (stands) return html`<h4>${title}</h4><div class="note warn" role="status">${t(stands)}</div>`;
  const { reward } = run.result;
  const found = (name) => difference(run.result.estimates?.[name], base.result.estimates?.[name]);
  const inWords = ({ says, low, high }) => t(`differs.${says}`, { low: figure(reward, says === "less" ? -high : low), high: figure(reward, says === "less" ? -low : high) });
  const columns = [
    { label: t("estimator"), cell: (row) => t(`estimator.${row.key}`) },
    { label: t("difference"), cell: (row) => html`<${Badge} kind=${KINDS[row.says]}>${t(`differsShort.${row.says}`)}<//>` },
    { label: t("inWords"), cell: (row) => html`<span class="small">${inWords(row)}</span>` },
  ];
  return html`<h4>${title}</h4>
    ${!isSameLog(run.result, base.result) && html`<div class="note warn" role="status">${t("notSameLog")}</div>`}
    <${Table} label=${title} columns=${columns} rows=${OF_THE_TARGET.map((key) => ({ key, ...found(key) }))} />`;
}

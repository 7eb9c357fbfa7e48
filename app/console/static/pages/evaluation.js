// What a policy would have earned, on the archived log: asked for, watched, compared.
import { html, useEffect, useLoad, useState } from "../lib/ui.js";
import { get, part, post } from "../lib/api.js";
import { number, share, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Bar, Card, Failure, Field, Input, Interval, Loaded, Page, Select, Status, Table } from "../lib/widgets.js";
import { CompareRuns } from "./evaluation_compare.js";
import { LatestRuns } from "./evaluation_list.js";

const KEPT = "nextbest.evaluations";
const SHOWN = 8;
const LOOK_MS = 1500;
const ESTIMATORS = ["earned", "ips", "snips", "dr"];
const keptIds = () => JSON.parse(localStorage.getItem(KEPT) ?? "[]");

/** All that one asks and compares; with an `id`, that run alone, for a link to it. */
export default function Evaluation({ id }) {
  if (id) return html`<${Page} title=${t("page.evaluation")} end=${html`<a class="button" href="/console/evaluation">${t("allRuns")}</a>`}><${Run} id=${id} /><//>`;
  return html`<${Evaluations} />`;
}

function Evaluations() {
  const loaded = useLoad(async () => {
    const [policies, placements] = await Promise.all([get("/v1/policies"), get("/v1/placements")]);
    return { policies, placements };
  });
  const [ids, setIds] = useState(keptIds);
  const add = (id) => {
    const next = [id, ...ids].slice(0, SHOWN);
    localStorage.setItem(KEPT, JSON.stringify(next));
    setIds(next);
  };
  const [runs, setRuns] = useState({});
  const keep = (run) => setRuns((old) => ({ ...old, [run.evaluation_id]: run }));
  const done = ids.map((id) => runs[id]).filter((run) => run?.result);
  return html`<${Page} title=${t("page.evaluation")}>
    <${Loaded} of=${loaded}>${(found) => html`<${Ask} ...${found} onAsked=${add} />`}<//>
    <${LatestRuns} known=${ids} onShow=${add} />
    <${AddRun} known=${ids} onFound=${add} />
    <${CompareRuns} runs=${done} />
    ${ids.map((id) => html`<${Run} key=${id} id=${id} onRead=${keep} />`)}
  <//>`;
}

/** Another one's run, or one that was asked for over the API, by its id. */
function AddRun({ known, onFound }) {
  const [id, setId] = useState("");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      const found = (await get(`/v1/evaluations/${part(id.trim())}`)).evaluation_id;
      if (!known.includes(found)) onFound(found);
      setId("");
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<form class="card" onSubmit=${submit}>
    <${Field} label=${t("evaluationId")} hint=${t("evaluationIdHint")}>${(a) => html`<${Input} ...${a} value=${id} onValue=${setId} required autocomplete="off" spellcheck="false" />`}<//>
    ${error && html`<${Failure} error=${error} />`}
    <p><button>${t("addRun")}</button></p>
  </form>`;
}

function Ask({ policies, placements, onAsked }) {
  const [policy, setPolicy] = useState(policies[0]?.policy ?? "");
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [start, setStart] = useState("cold");
  const [error, setError] = useState(null);
  const submit = async (event) => {
    event.preventDefault();
    try {
      onAsked((await post("/v1/evaluations", { policy, placement, start })).evaluation_id);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<form class="card" onSubmit=${submit}>
    <div class="fields">
      <${Field} label=${t("policy")}>${(a) => html`<${Select} ...${a} value=${policy} onValue=${setPolicy} options=${policies.map((p) => [p.policy, p.policy])} />`}<//>
      <${Field} label=${t("placement")}>${(a) => html`<${Select} ...${a} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />`}<//>
      <${Field} label=${t("startFrom")}>${(a) => html`<${Select} ...${a} value=${start} onValue=${setStart} options=${["cold", "warm"].map((s) => [s, t(`start.${s}`)])} />`}<//>
    </div>
    ${error && html`<${Failure} error=${error} />`}
    <p><button class="primary">${t("evaluate")}</button></p>
  </form>`;
}

function Run({ id, onRead }) {
  const loaded = useLoad(() => get(`/v1/evaluations/${part(id)}`), [id]);
  const state = loaded.data?.state;
  useEffect(() => {
    if (loaded.data) onRead?.(loaded.data);
    if (state !== "waiting" && state !== "running") return undefined;
    const timer = setTimeout(loaded.reload, LOOK_MS);
    return () => clearTimeout(timer);
  }, [loaded.data]);
  return html`<${Card} title=${t("evaluationRun", { id })}>
    <${Loaded} of=${loaded}>
      ${(run) => html`<div class="row"><${Status} of=${run.state} /><strong>${run.policy}</strong><span class="muted">${run.placement} · ${time(run.asked_at)}</span></div>
        ${state !== "done" && state !== "failed" && html`<${Bar} of=${run.total ? run.seen / run.total : 0} />`}
        ${run.error && html`<div class="note bad">${run.error}</div>`}
        ${run.result && html`<${Result} of=${run.result} />`}`}
    <//>
  <//>`;
}

function Result({ of }) {
  const { estimates } = of;
  const rows = estimates ? ESTIMATORS.map((name) => ({ key: name, ...estimates[name] })) : [];
  const most = Math.max(0.01, ...rows.map((r) => r.high ?? 0));
  const columns = [
    { label: t("estimator"), cell: (r) => t(`estimator.${r.key}`) },
    { label: t("interval95short"), cell: (r) => html`<div>${r.low === null ? html`<span class="muted small">${r.reason}</span>` : html`<${Interval} rate=${r.value} low=${r.low} high=${r.high} most=${most} />`}</div>` },
    { label: "", number: true, cell: (r) => (of.reward === "value" ? number(r.value, 3) : share(r.value, 2)) },
  ];
  return html`${of.warnings.map((warning) => html`<div class="note warn">${warning}</div>`)}
    ${estimates &&
    html`<${Table} label=${t("estimates")} columns=${columns} rows=${rows} />
      <p class="small">${t("liftOverLog", { value: number(estimates.lift.value, 4), low: number(estimates.lift.low, 4), high: number(estimates.lift.high, 4) })}</p>
      <p class="muted small">${t("effectiveRows", { rows: number(estimates.rows), effective: number(estimates.effective_rows), weight: number(estimates.largest_weight, 1) })}</p>`}
    <p class="muted small">${t("evaluated", { decisions: number(of.decisions), open: number(of.open ?? 0) })}</p>`;
}

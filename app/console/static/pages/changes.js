// A change set: a draft in a file, its difference in words, what it would do to customers, and then all of it at once.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, post, withQuery } from "../lib/api.js";
import { number, share } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Bar, Card, Confirm, Failure, Field, Funnel, Loaded, Page, Select, Table, tell } from "../lib/widgets.js";
import { Differences } from "./audit.js";

const KEPT = "nextbest.draft";
const YAML = { "Content-Type": "application/yaml" };
const SAMPLE = 1000;

export default function Changes() {
  const placements = useLoad(() => get("/v1/placements"));
  return html`<${Page} title=${t("page.changes")}>
    <${Loaded} of=${placements}>${(found) => html`<${Draft} placements=${found} />`}<//>
  <//>`;
}

function Draft({ placements }) {
  const [text, setText] = useState(localStorage.getItem(KEPT) ?? "nextbest: 1\n");
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [found, setFound] = useState(null);
  const [simulated, setSimulated] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [asked, setAsked] = useState(false);
  const write = (changed) => {
    setText(changed);
    setFound(null);
    setSimulated(null);
    localStorage.setItem(KEPT, changed);
  };
  const look = async () => {
    setBusy(true);
    setError(null);
    try {
      setFound(await post("/v1/catalog/diff", text, YAML));
      setSimulated(await post(withQuery("/v1/catalog/simulate", { placement, sample: SAMPLE }), text, YAML));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const apply = async (reason) => {
    // What was looked at is what is applied: refused if somebody changed the catalogue meanwhile.
    const answer = await post("/v1/catalog/apply", text, { ...YAML, "If-Match": `"${found.catalog_version}"`, "X-Reason": reason.normalize("NFD").replace(/[^\x20-\x7e]/g, "") });
    tell(t("nowVersion", { version: answer.catalog_version }));
    write("nextbest: 1\n");
  };
  return html`<div class="two">
    <${Card} title=${t("draft")}>
      <p class="muted small">${t("draftHint")}</p>
      <${Field} label=${t("draftText")}>
        ${(a) => html`<textarea ...${a} class="code" rows="22" spellcheck="false" value=${text} onInput=${(e) => write(e.currentTarget.value)}></textarea>`}
      <//>
      <div class="row">
        <${Select} class="short" aria-label=${t("placement")} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />
        <button class="primary" disabled=${busy} onClick=${look}>${t("lookAtIt")}</button>
        <button disabled=${!found || found.differences.length === 0} onClick=${() => setAsked(true)}>${t("apply")}</button>
      </div>
      ${error && html`<${Failure} error=${error} />`}
    <//>
    <div>
      ${found && html`<${Card} title=${t("difference")}>
        ${found.differences.length === 0 && html`<p class="empty">${t("nothingChanged")}</p>`}
        <${Summary} of=${found.summary} />
        <${Differences} of=${found.differences} most=${30} />
        ${found.warnings.map((w) => html`<div class="note warn"><code>${w.field}</code> ${w.message} ${w.way_out}</div>`)}
      <//>`}
      ${simulated && html`<${Simulation} of=${simulated} />`}
    </div>
    ${asked && found && html`<${Confirm} title=${t("apply")} text=${t("applyText", { n: found.differences.length })} withReason onDone=${apply} onClose=${() => setAsked(false)} />`}
  </div>`;
}

const Summary = ({ of }) =>
  html`<p>${t("summary", { added: of.added.length, changed: of.changed.length, deleted: of.deleted.length })}</p>
    ${of.changed.filter((c) => c.lost.length > 0).map((c) => html`<div class="note bad">${t("loses", { path: c.path, lost: c.lost.join(", ") })}</div>`)}`;

/** What a sample of customers would get, before and after. */
function Simulation({ of }) {
  const steps = (run) => Object.entries(run.funnel).map(([stage, left]) => [known(`stage.${stage}`, stage), left]);
  const moved = [...of.offers].filter((o) => o.difference !== 0).sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference)).slice(0, 12);
  const most = Math.max(1, ...moved.flatMap((o) => [o.live, o.changed]));
  const columns = [
    { label: t("offer"), cell: (o) => o.offer_id },
    { label: t("now"), cell: (o) => html`<div><${Bar} of=${o.live / most} label=${String(o.live)} /><span class="small">${number(o.live)}</span></div>` },
    { label: t("then"), cell: (o) => html`<div><${Bar} of=${o.changed / most} kind="warn" label=${String(o.changed)} /><span class="small">${number(o.changed)}</span></div>` },
  ];
  return html`<${Card} title=${t("simulation")}>
    <p>${t("simulated", { customers: number(of.customers), changed: number(of.customers_with_another_answer) })}</p>
    <div class="grid"><div><h3>${t("now")}</h3><${Funnel} steps=${steps(of.live)} /></div><div><h3>${t("then")}</h3><${Funnel} steps=${steps(of.changed)} /></div></div>
    <p class=${of.changed.without_offer_share > of.live.without_offer_share ? "down" : ""}>${t("nobodyServed", { now: share(of.live.without_offer_share), then: share(of.changed.without_offer_share) })}</p>
    <p>${t("expectedValue", { now: number(of.live.expected_value, 1), then: number(of.changed.expected_value, 1) })}</p>
    <${Table} label=${t("simulation")} columns=${columns} rows=${moved.map((o) => ({ ...o, key: o.offer_id }))} />
  <//>`;
}

// A placement: who decides for which share of the customers, how they do, and the way forward and back.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part, post, withQuery } from "../lib/api.js";
import { number, share, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { may } from "../lib/roles.js";
import { Badge, Bar, Card, Confirm, Field, Interval, Loaded, Page, Select, Status, Table, tell } from "../lib/widgets.js";
import { CanaryCourses } from "./canary_course.js";

export default function Placement({ id }) {
  const stages = useLoad(() => loadStages(id), [id]);
  const tests = useLoad(() => get(withQuery("/v1/reports/canaries", { placement: id, limit: 5 })), [id]);
  return html`<${Page} title=${t("placementTitle", { id })}>
    <${Loaded} of=${stages}>${(found) => html`<${Stages} id=${id} ...${found} reload=${stages.reload} />`}<//>
    <div class="two"><${Acceptance} id=${id} /><${Canary} tests=${tests} /></div>
    <${CanaryCourses} stages=${tests.data?.stages ?? []} />
  <//>`;
}

async function loadStages(id) {
  const [of, registered] = await Promise.all([get(`/v1/placements/${part(id)}/policies`), get("/v1/policies")]);
  return { of, registered };
}

/** Shares of the customers: canary, each control, and the champion the rest. */
function sharesOf({ policies, controls, champion, control_share: control }) {
  const canary = policies.find((p) => p.stage === "canary");
  const kinds = controls.length > 0 ? controls : [{ kind: "control", share: control }];
  const held = kinds.filter((c) => c.share > 0).map((c) => ({ name: known(`control.${c.kind}`, c.kind), policy: "", share: c.share }));
  const taken = (canary?.share ?? 0) + held.reduce((sum, c) => sum + c.share, 0);
  return [
    { name: t("control.champion"), policy: champion, share: Math.max(1 - taken, 0) },
    ...(canary ? [{ name: t("control.canary"), policy: canary.policy, share: canary.share }] : []),
    ...held,
  ];
}

function Stages({ id, of, registered, reload }) {
  const [asked, setAsked] = useState(null);
  const canary = of.policies.find((p) => p.stage === "canary");
  const change = (body, told) => async (reason) => {
    await post(`/v1/placements/${part(id)}/policies${body ? "" : "/rollback"}`, { ...body, reason });
    tell(told);
    reload();
  };
  const promote = (policy) => {
    const [name, version] = policy.split("@");
    setAsked({
      title: t("promoteTitle", { policy }),
      text: t("promoteText", { policy, champion: of.champion }),
      done: change({ policy: name, version: Number(version), stage: "champion" }, t("promoted", { policy })),
    });
  };
  const rollBack = () =>
    setAsked({
      title: t("rollBackTitle"),
      text: canary ? t("rollBackCanary", { policy: canary.policy }) : t("rollBackChampion", { policy: of.before[0] ?? "–" }),
      done: change(null, t("rolledBack")),
      danger: true,
    });
  const columns = [
    { label: t("policy"), cell: (p) => html`<${PolicyLink} of=${p.policy} />` },
    { label: t("stage"), cell: (p) => html`<${Badge} kind=${p.stage === "champion" ? "good" : "accent"}>${t(`stage.${p.stage}`)}<//>` },
    { label: t("state"), cell: (p) => html`<${Status} of=${p.state} />` },
    { label: t("sinceWhen"), cell: (p) => time(p.since) },
    { label: "", cell: (p) => may("scientist") && p.stage !== "champion" && p.stage !== "retired" && p.state === "live" && html`<button class="small" onClick=${() => promote(p.policy)}>${t("promote")}</button>` },
  ];
  const shares = sharesOf(of);
  return html`<div class="two">
    <${Card} title=${t("policies")}>
      <${Table} label=${t("policies")} columns=${columns} rows=${of.policies.filter((p) => p.stage !== "registered").map((p) => ({ ...p, key: p.policy }))} />
      <div class="row">
        ${(canary || of.before.length > 0) && html`<button class="danger" onClick=${rollBack}>${t("rollBack")}</button>`}
        ${may("scientist") && html`<${Stage} registered=${registered.filter((p) => p.policy !== of.champion)} ask=${setAsked} change=${change} />`}
      </div>
    <//>
    <${Card} title=${t("shares")}>
      ${shares.map((s) => html`<div class="row small"><strong>${s.name}</strong><span class="muted">${s.policy}</span><span class="number">${share(s.share)}</span></div><${Bar} of=${s.share} label=${`${s.name}: ${share(s.share)}`} />`)}
    <//>
    ${asked && html`<${Confirm} title=${asked.title} text=${asked.text} withReason danger=${asked.danger} onDone=${asked.done} onClose=${() => setAsked(null)} />`}
  </div>`;
}

const PolicyLink = ({ of }) => {
  const [name, version] = of.split("@");
  return html`<a href=${`/console/policies/${part(name)}/${version}`}>${of}</a>`;
};

/** Puts a registered policy into the shadow, or in charge of a share of the customers. */
function Stage({ registered, ask, change }) {
  const waiting = registered.filter((p) => p.state === "live");
  const [policy, setPolicy] = useState(waiting[0]?.policy ?? "");
  const [stage, setStage] = useState("shadow");
  const [percent, setPercent] = useState(5);
  if (waiting.length === 0) return null;
  const submit = () => {
    const [name, version] = policy.split("@");
    const body = { policy: name, version: Number(version), stage, ...(stage === "canary" ? { share: percent / 100 } : {}) };
    ask({ title: t("stageTitle", { policy, stage: t(`stage.${stage}`) }), text: stage === "canary" ? t("stageShare", { share: share(percent / 100) }) : "", done: change(body, t("staged", { policy })) });
  };
  return html`<div class="row">
    <${Select} class="short" aria-label=${t("policy")} value=${policy} onValue=${setPolicy} options=${waiting.map((p) => [p.policy, p.policy])} />
    <${Select} class="short" aria-label=${t("stage")} value=${stage} onValue=${setStage} options=${["shadow", "canary", "retired"].map((s) => [s, t(`stage.${s}`)])} />
    ${stage === "canary" && html`<label>${t("percent")} <input class="short" type="number" min="0.1" max="100" step="any" value=${percent} onInput=${(e) => setPercent(Number(e.currentTarget.value))} /></label>`}
    <button onClick=${submit}>${t("change")}</button>
  </div>`;
}

function Acceptance({ id }) {
  const [slots, setSlots] = useState("first");
  const loaded = useLoad(() => get(withQuery(`/v1/placements/${part(id)}/policies/comparison`, { slots })), [id, slots]);
  return html`<${Card} title=${t("acceptanceByGroup")}>
    <${Field} label=${t("slots")}>${(a) => html`<${Select} ...${a} value=${slots} onValue=${setSlots} options=${["first", "all"].map((s) => [s, t(`slots.${s}`)])} />`}<//>
    <${Loaded} of=${loaded}>
      ${({ deciding, shadows, notes }) => {
        const most = Math.max(0.01, ...deciding.map((d) => d.acceptance.high));
        const columns = [
          { label: t("group"), cell: (d) => html`<div><strong>${known(`control.${d.group}`, d.group)}</strong><div class="muted small">${d.policy}</div></div>` },
          { label: t("acceptance"), cell: (d) => html`<${Interval} rate=${d.acceptance.value} low=${d.acceptance.low} high=${d.acceptance.high} most=${most} />` },
          { label: "", number: true, cell: (d) => share(d.acceptance.value) },
          { label: t("observed"), number: true, cell: (d) => number(d.observed) },
          { label: t("failures"), number: true, cell: (d) => number(d.failures) },
        ];
        return html`<${Table} label=${t("acceptanceByGroup")} columns=${columns} rows=${deciding.map((d) => ({ ...d, key: `${d.group} ${d.policy}` }))} empty=${t("noAnswers")} />
          ${shadows.length > 0 && html`<h3>${t("shadows")}</h3>${shadows.map((s) => html`<p class="small"><strong>${s.policy}</strong> ${t("agrees", { share: share(s.agreement) })} ${s.estimates ? t("wouldEarn", { dr: share(s.estimates.dr.value), low: share(s.estimates.dr.low), high: share(s.estimates.dr.high) }) : s.warnings[0]}</p>`)}`}
          ${notes.map((note) => html`<p class="muted small">${note}</p>`)}`;
      }}
    <//>
  <//>`;
}

/** The sequential test of the canary: how much evidence there is, of what a rollback takes. */
function Canary({ tests }) {
  return html`<${Card} title=${t("canaryTest")}>
    <${Loaded} of=${tests}>
      ${({ stages }) =>
        stages.length === 0
          ? html`<p class="empty">${t("noCanary")}</p>`
          : stages.map((s) => {
              // On a scale of logarithms: evidence multiplies.
              const evidence = Math.log(Math.max(s.e_value, 1)) / Math.log(s.needed);
              return html`<div class="stack">
                <div class="row"><strong>${s.canary.policy}@${s.canary.version}</strong><span class="muted small">${time(s.started_at)} · ${share(s.share)}</span>${s.ended_at && html`<${Badge}>${s.cause ?? t("over")}<//>`}</div>
                <div class="small">${t("canaryDifference", { low: share(s.difference_low), high: share(s.difference_high) })}</div>
                <${Bar} of=${evidence} kind=${evidence >= 1 ? "bad" : ""} label=${t("evidence", { e: number(s.e_value, 2), needed: number(s.needed) })} />
                <div class="muted small">${t("evidence", { e: number(s.e_value, 2), needed: number(s.needed) })}</div>
                ${s.reason && html`<p class="small">${s.reason}</p>`}
              </div>`;
            })}
    <//>
  <//>`;
}

// What becomes of an offer in the newest decisions: in play, stopped where and by what, shown, presented, accepted.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { number, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Card, Funnel, Loaded, Table } from "../lib/widgets.js";

const OUT_OF_PLAY = ["status", "channel"];
const SHOWN_RULES = 10;

/** The counts from the wide end to the narrow one, with what was left after each stage that stopped it. */
function stepsOf(found) {
  let left = found.in_play;
  const steps = [[t("funnelSampled"), found.sampled], [t("funnelInPlay"), left]];
  for (const { stage, decisions } of found.stages) {
    if (OUT_OF_PLAY.includes(stage) || stage === "arbitration") continue;
    steps.push([t("after", { stage: known(`stage.${stage}`, stage) }), (left -= decisions)]);
  }
  return [
    ...steps,
    [t("funnelCandidates"), found.candidates],
    [t("funnelShown"), found.shown],
    [t("step.presented"), found.presented],
    [t("step.accepted"), found.accepted],
  ];
}

const columns = () => [
  {
    label: t("stoppedBy"),
    cell: (r) => html`<div><strong>${known(`stage.${r.stage}`, r.stage)}</strong> ${r.stage === "arbitration" ? t("lostTo", { offer: r.name }) : r.name}
      ${r.inherited_from && html` <span class="muted small">(${r.inherited_from})</span>`}</div>`,
  },
  { label: t("stoppedDecisions"), number: true, cell: (r) => number(r.decisions) },
  { label: t("stoppedOnly"), number: true, cell: (r) => number(r.only) },
];

export function RecentFunnel({ id }) {
  const loaded = useLoad(() => get(`/v1/reports/offers/${part(id)}/funnel`), [id]);
  return html`<${Card} title=${t("funnelRecent")} data-testid="recent-funnel">
    <${Loaded} of=${loaded}>${(found) => html`<${Shown} of=${found} />`}<//>
  <//>`;
}

function Shown({ of }) {
  if (of.sampled === 0) return html`<p class="empty">${t("funnelNone")}</p>`;
  const rules = of.rules.slice(0, SHOWN_RULES);
  const more = of.rules.length - rules.length + of.more_rules;
  return html`<p class="muted small">${t(of.more ? "funnelOf" : "funnelAll", { n: number(of.sampled) })} · ${of.placements.join(", ")} · ${time(of.since)} – ${time(of.until)}</p>
    <${Funnel} steps=${stepsOf(of)} />
    ${rules.length > 0 && html`<${Table} label=${t("stoppedBy")} columns=${columns()} rows=${rules.map((r) => ({ ...r, key: [r.stage, r.name, r.inherited_from].join() }))} />`}
    ${more > 0 && html`<p class="muted small">${t("moreRules", { n: number(more) })}</p>`}
    ${of.unexplained > 0 && html`<p class="muted small">${t("funnelUnexplained", { n: number(of.unexplained) })}</p>`}
    ${of.as_default > 0 && html`<p class="muted small">${t("funnelDefaults", { n: number(of.as_default) })}</p>`}`;
}

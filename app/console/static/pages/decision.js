// A decision: what was asked, what was answered with which chance, why and why not, and what came of it.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { number, share, time, value } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Badge, Bar, Card, Loaded, Page, Table } from "../lib/widgets.js";
import { Candidates } from "./candidates.js";
import { Replay } from "./decision_replay.js";

export default function Decision({ id }) {
  const loaded = useLoad(() => get(`/v1/decisions/${part(id)}`), [id]);
  return html`<${Page} title=${t("decisionTitle")}>
    <p class="muted"><code>${id}</code></p>
    <${Loaded} of=${loaded}>${(record) => html`<${Shown} of=${record} />`}<//>
    <${Replay} key=${id} id=${id} />
    <${Explained} id=${id} />
  <//>`;
}

function Shown({ of }) {
  const facts = {
    [t("customerId")]: html`<a href=${`/console/customers/${part(of.customer_id)}`}>${of.customer_id}</a>`,
    [t("placement")]: html`<a href=${`/console/placements/${part(of.placement)}`}>${of.placement}</a>`,
    [t("policy")]: html`<a href=${`/console/policies/${part(of.policy.name)}/${of.policy.version}`}>${of.policy.name}@${of.policy.version}</a>`,
    [t("decidedAt")]: time(of.decided_at_ms),
    [t("catalogueVersion")]: number(of.catalog_version),
    [t("windowEnds")]: time(of.feedback_until),
    [t("context")]: html`<code>${value(of.context)}</code>`,
  };
  const columns = [
    { label: t("rank"), cell: (o) => number(o.rank) },
    { label: t("offer"), cell: (o) => html`<a href=${`/console/offers/${part(o.offer_id)}`}>${o.offer_id}</a>` },
    { label: t("probability"), cell: (o) => html`<div><${Bar} of=${o.probability} label=${share(o.probability, 2)} /><span class="small">${share(o.probability, 2)}</span></div>` },
    { label: t("score"), number: true, cell: (o) => number(o.score, 4) },
    { label: t("outcomes"), cell: (o) => html`<div>${of.outcomes.filter((x) => x.offer_id === o.offer_id).map((x) => html`<div class="small"><${Badge} kind=${x.outcome === "accepted" ? "good" : ""}>${known(`outcome.${x.outcome}`, x.outcome)}<//> ${time(x.recorded_at_ms)} ${x.late ? t("late") : ""}</div>`)}</div>` },
  ];
  return html`<div class="two">
    <${Card} title=${t("answered")}>
      ${of.degraded.length > 0 && html`<div class="note warn">${of.degraded.map((r) => known(`degraded.${r}`, r)).join(", ")}</div>`}
      <${Table} label=${t("answered")} columns=${columns} rows=${of.offers.map((o) => ({ ...o, key: o.offer_id }))} empty=${t("nothingNow")} />
    <//>
    <${Card} title=${t("asked")}>
      <dl class="facts">${Object.entries(facts).map(([name, given]) => html`<dt>${name}</dt><dd>${given}</dd>`)}</dl>
    <//>
  </div>`;
}

/** Made again from the log: the explanation is a replay, so it is the reasons of then. */
function Explained({ id }) {
  const loaded = useLoad(() => get(`/v1/decisions/${part(id)}/explanation`), [id]);
  return html`<${Card} title=${t("whyAndWhyNot")}>
    <${Loaded} of=${loaded}>${(found) => html`<p class="muted small">${t("replayed")}</p><${Candidates} of=${found.candidates} />`}<//>
  <//>`;
}

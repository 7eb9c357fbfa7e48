// Every offer of a decision: chosen, ready, or stopped, with what stopped it and what would have changed it.
import { html, useState } from "../lib/ui.js";
import { part } from "../lib/api.js";
import { number, share, time, value } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Badge, Funnel, Table } from "../lib/widgets.js";

const KINDS = { chosen: "good", ready: "accent", stopped: "bad" };
const STAGES = ["status", "channel", "dates", "holdout", "placement", "eligibility", "applicability", "suitability", "consent", "suppression", "quiet_hours", "signal", "contact", "exclusion", "capacity", "propensity"];
const ORDER = { chosen: 0, ready: 1, stopped: 2 };

/** How many offers were left after each stage that stopped any. */
function path(candidates) {
  let left = candidates.length;
  const steps = [[t("allOffers"), left]];
  for (const stage of STAGES) {
    const stopped = candidates.filter((c) => c.stage === stage).length;
    if (stopped > 0) steps.push([t("after", { stage: known(`stage.${stage}`, stage) }), (left -= stopped)]);
  }
  return [...steps, [t("result.chosen"), candidates.filter((c) => c.result === "chosen").length]];
}

/** What stopped an offer, in words. */
const Stop = ({ of }) =>
  html`<div class="small"><strong>${known(`stage.${of.stage}`, of.stage)}</strong> ${of.name}${" "}
    <span class="muted">${t("observedRequired", { observed: value(of.observed), required: value(of.required) })}
    ${of.allowed_again_ms ? ` ${t("allowedAgain", { at: time(of.allowed_again_ms) })}` : ""}
    ${of.inherited_from ? ` (${of.inherited_from})` : ""}</span></div>`;

export function Why({ of }) {
  if (of.stops?.length > 0) return of.stops.slice(0, 3).map((stop) => html`<${Stop} of=${stop} />`);
  if (!of.factors) return null;
  const { P, C, V, L } = of.factors;
  const firstIf = Object.entries(of.first_if ?? {}).filter(([, x]) => x !== null);
  return html`<div class="small">
    <code>${share(P, 2)} × ${number(C, 2)} × ${number(V, 2)} × ${number(L, 2)} = ${number(of.score, 3)}</code>
    ${firstIf.length > 0 && html`<div class="muted">${t("firstIf")} ${firstIf.map(([factor, x]) => `${factor} ≥ ${number(x, 3)}`).join(` ${t("or")} `)}</div>`}
  </div>`;
}

export function Candidates({ of, titles = {} }) {
  const [all, setAll] = useState(false);
  const sorted = [...of].sort((a, b) => ORDER[a.result] - ORDER[b.result] || (a.rank ?? 99) - (b.rank ?? 99) || (b.score ?? 0) - (a.score ?? 0));
  const shown = all ? sorted : sorted.slice(0, 15);
  const columns = [
    { label: t("offer"), cell: (c) => html`<div><a href=${`/console/offers/${part(c.offer_id)}`}>${c.offer_id}</a><div class="muted small">${titles[c.offer_id] ?? ""}</div></div>` },
    { label: t("result"), cell: (c) => html`<${Badge} kind=${KINDS[c.result]}>${t(`result.${c.result}`)}${c.rank ? ` ${c.rank}` : ""}<//>` },
    { label: t("why"), cell: (c) => html`<div><${Why} of=${c} /></div>` },
  ];
  return html`<h3>${t("path")}</h3>
    <${Funnel} steps=${path(of)} />
    <h3>${t("offers")}</h3>
    <${Table} label=${t("offers")} columns=${columns} rows=${shown.map((c) => ({ ...c, key: c.offer_id }))} />
    ${shown.length < sorted.length && html`<button onClick=${() => setAll(true)}>${t("showMore")}</button>`}`;
}

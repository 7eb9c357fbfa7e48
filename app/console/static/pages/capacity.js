// Contact policies and quiet hours in words, customers at a limit now, and how much of each capacity is left.
import { html, useLoad } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { duration, number, share, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Badge, Bar, Card, Loaded, Page } from "../lib/widgets.js";
import { AtLimits } from "./at_limits.js";
import { DayCurve } from "./capacity_curve.js";

async function load() {
  const [policies, quiet, usage, capacities] = await Promise.all([
    get("/v1/contact-policies"),
    get("/v1/quiet-hours"),
    get("/v1/reports/capacity"),
    get("/v1/capacities"),
  ]);
  return { policies, quiet, usage: usage.capacities, capacities: new Map(capacities.map((c) => [c.id, c])) };
}

export default function Capacity() {
  const loaded = useLoad(load);
  return html`<${Page} title=${t("page.capacity")} end=${html`<button onClick=${loaded.reload}>${t("refresh")}</button>`}>
    <${Loaded} of=${loaded}>
      ${({ policies, quiet, usage, capacities }) => html`<div class="two">
        <${Card} title=${t("capacities")}>
          ${usage.length === 0 && html`<p class="empty">${t("nothing")}</p>`}
          <ul class="plain">${usage.map((u) => html`<${Usage} of=${u} capacity=${capacities.get(u.capacity_id)} />`)}</ul>
        <//>
        <div>
          <${Card} title=${t("contactPolicies")}>
            ${policies.length === 0 && html`<p class="empty">${t("nothing")}</p>`}
            <ul class="plain">${policies.map((p) => html`<li><strong>${p.name}</strong><div>${policyInWords(p)}</div></li>`)}</ul>
          <//>
          <${AtLimits} />
          <${Card} title=${t("quietHours")}>
            ${quiet.length === 0 && html`<p class="empty">${t("nothing")}</p>`}
            <ul class="plain">${quiet.map((q) => html`<li>${t("quietWords", { start: q.start, end: q.end, zone: q.time_zone })} ${q.channels.map((c) => html`<${Badge}>${c}<//> `)}</li>`)}</ul>
          <//>
        </div>
      </div>`}
    <//>
  <//>`;
}

function policyInWords(policy) {
  const outcomes = policy.outcomes.map((o) => known(`step.${o}`, o)).join(", ");
  const where = policy.channels.length ? t("inChannels", { channels: policy.channels.join(", ") }) : "";
  const then = policy.suppress_s ? t("thenSilent", { time: duration(policy.suppress_s) }) : "";
  const whose = policy.per === "household" ? t("perHousehold") : "";
  return `${t("policyWords", { max: policy.max, outcomes, scope: t(`scope.${policy.scope}`), window: duration(policy.window_s) })} ${where} ${whose} ${then}`;
}

function Usage({ of, capacity }) {
  const used = of.max > 0 ? Math.min((of.used + of.leased) / of.max, 1) : 1;
  const about = ["offer", "group", "channel", "team"].filter((name) => capacity?.[name]).map((name) => `${name} ${capacity[name]}`);
  return html`<li>
    <div class="row"><strong>${of.name}</strong><span class="muted small">${about.join(", ")} · ${t(`per.${of.per}`)} · ${known(`step.${of.counts}`, of.counts)}</span></div>
    <${Bar} of=${used} kind=${used > 0.9 ? "bad" : used > 0.75 ? "warn" : ""} label=${t("used", { share: share(used) })} />
    <div class="small">${t("leftOf", { left: number(of.remaining), max: number(of.max) })}${of.held > 0 ? ` · ${t("held", { n: number(of.held) })}` : ""}
      <span class="muted"> ${of.ends_at ? t("nextPeriod", { at: time(of.ends_at) }) : ""}</span></div>
    <${DayCurve} id=${of.capacity_id} name=${of.name} />
  </li>`;
}

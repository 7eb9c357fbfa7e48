// How many customers are at a contact limit now, estimated from a sample of them.
import { html, useLoad } from "../lib/ui.js";
import { get } from "../lib/api.js";
import { number, share } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Bar, Card, Loaded } from "../lib/widgets.js";

function Line({ label, of, report }) {
  const said = t("atLimit", {
    n: number(Math.round((of.share ?? 0) * report.customers)),
    share: share(of.share),
    low: share(of.low),
    high: share(of.high),
  });
  return html`<li><strong>${label}</strong><${Bar} of=${of.share} label=${`${label}: ${said}`} /><div class="small">${said}</div></li>`;
}

/** Loaded for itself: the page does not wait until the sample was looked at. */
export function AtLimits() {
  const loaded = useLoad(() => get("/v1/reports/contact-limits"));
  return html`<${Card} title=${t("atLimitNow")} data-testid="at-limits">
    <${Loaded} of=${loaded}>
      ${(report) => html`<p class="muted small">${t(report.looked_at < report.customers ? "atLimitSample" : "atLimitAll", { n: number(report.looked_at), of: number(report.customers) })}</p>
        <ul class="plain">
          <${Line} label=${t("atAnyLimit")} of=${report.any} report=${report} />
          ${report.policies.map((p) => html`<${Line} key=${p.policy_id} label=${p.name} of=${p} report=${report} />`)}
          <${Line} label=${t("atOwnLimit")} of=${report.preferences} report=${report} />
        </ul>`}
    <//>
  <//>`;
}

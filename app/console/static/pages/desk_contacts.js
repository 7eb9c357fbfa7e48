// Earlier contacts of a customer: from the archive where the role may read it, and those of this desk always.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { may } from "../lib/roles.js";
import { Card } from "../lib/widgets.js";
import { reasonName } from "./desk.js";

const loadArchived = (customer) =>
  customer && may("agent", "ops", "scientist") ? get(`/v1/customers/${part(customer)}/decisions?limit=10`) : { decisions: [] };

/** The last outcome that was told of an offer. */
const last = (offer) => offer.outcomes.at(-1);

export function Contacts({ customer, calls, reasons }) {
  const archived = useLoad(async () => loadArchived(customer), [customer, calls.length]);
  const here = calls.filter((call) => call.customer === customer);
  const seen = new Set(here.map((call) => call.decision_id));
  const earlier = (archived.data?.decisions ?? []).filter((d) => !seen.has(d.decision_id));
  const rows = [
    ...here.map((call) => ({ id: call.decision_id, at: call.at, placement: call.placement, offers: call.offers.map((o) => [o.offer_id, call.outcomes[o.offer_id]]) })),
    ...earlier.map((d) => ({ id: d.decision_id, at: d.decided_at, placement: d.placement, offers: d.offers.map((o) => [o.offer_id, last(o)]) })),
  ];
  if (!customer) return null;
  return html`<${Card} title=${t("earlierContacts")}>
    ${rows.length === 0 && html`<p class="empty">${t("noContacts")}</p>`}
    <ul class="plain small">
      ${rows.map(
        (row) => html`<li key=${row.id}><strong>${time(row.at)}</strong> <span class="muted">${row.placement}</span>
          ${row.offers.map(([id, outcome]) => html`<div>${id} ${outcome && html`<span class="badge">${words(outcome, reasons)}</span>`}</div>`)}</li>`,
      )}
    </ul>
    ${archived.error && html`<p class="muted small">${t("contactsAway")}</p>`}
  <//>`;
}

/** An outcome, with the reason that was given for a no. */
function words({ outcome, reason }, reasons) {
  const name = known(`outcome.${outcome}`, outcome);
  return reason ? `${name}: ${reasonName(reasons, reason)}` : name;
}

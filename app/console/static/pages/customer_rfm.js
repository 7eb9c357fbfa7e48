// Recency, frequency and value of a customer: of what was accepted here, of what events tell, and of indicators that are called so.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { duration, number, time, value } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Table } from "../lib/widgets.js";

const PARTS = ["recency", "frequency", "value"];
/** The part that an aggregate plays, by its function. */
const PLAYED = { recency: "recency", count: "frequency", sum: "value" };
/** The part that an indicator plays, by its name. */
const CALLED = { recency: /recency/i, frequency: /frequency/i, value: /monetary|spend|spent/i };
const WINDOW_S = { s: 1, m: 60, h: 3600, d: 86400 };
const UNIT_S = { seconds: 1, hours: 3600, days: 86400 };

async function loadTold(id) {
  // Aggregates of cases tell of the one case with the most, not of the customer.
  const declared = (await get("/v1/aggregates")).filter((aggregate) => PLAYED[aggregate.function] && !aggregate.key);
  return { declared, told: declared.length ? await get(`/v1/customers/${part(id)}/told`) : null };
}

/** `customer`: the profile, or null; `decisions`: those that the page lists. */
export function Rfm({ id, customer, decisions }) {
  const loaded = useLoad(() => loadTold(id), [id]);
  const rows = [accepted(decisions), ...ofEvents(loaded.data), ...ofIndicators(customer?.indicators ?? {})];
  const columns = [
    { label: t("rfmSource"), cell: (row) => row.source },
    ...PARTS.map((name) => ({ label: t(`rfmPart.${name}`), cell: (row) => (row[name]?.length ? html`<div>${row[name].map((one) => html`<div>${one}</div>`)}</div>` : html`<span class="muted">${t("unknown")}</span>`) })),
  ];
  return html`<${Card} title=${t("rfm")} data-testid="rfm">
    <p class="muted small">${t("rfmHint")}</p>
    ${loaded.error && html`<div class="note warn" role="status">${t("rfmAway")}</div>`}
    <${Table} label=${t("rfm")} columns=${columns} rows=${rows} />
  <//>`;
}

function accepted(decisions) {
  const found = decisions.flatMap((d) => d.offers.flatMap((o) => o.outcomes.filter((x) => x.outcome === "accepted")));
  const told = found.filter((x) => x.value !== null);
  const sum = number(told.reduce((all, x) => all + x.value, 0), 2);
  return {
    key: "accepted",
    source: t("rfmAccepted", { n: number(decisions.length) }),
    recency: found.length ? [time(Math.max(...found.map((x) => Date.parse(x.occurred_at))))] : [],
    frequency: [number(found.length)],
    value: told.length ? [told.length < found.length ? t("rfmTold", { sum, n: number(told.length) }) : sum] : [],
  };
}

/** A row for each type of events of which an aggregate tells one of the parts. */
function ofEvents(loaded) {
  if (!loaded?.told) return [];
  const rows = new Map();
  for (const aggregate of loaded.declared) {
    const known = loaded.told.events[aggregate.id];
    if (known === undefined) continue;
    const { event } = aggregate;
    if (!rows.has(event)) rows.set(event, { key: `event ${event}`, source: t("rfmEvent", { event }), recency: [], frequency: [], value: [] });
    rows.get(event)[PLAYED[aggregate.function]].push(html`${inWords(aggregate, known, loaded.told.at)} <code class="small">${aggregate.id}</code>`);
  }
  return [...rows.values()];
}

function inWords({ function: name, unit, window }, known, at) {
  if (name === "recency") return time(Date.parse(at) - known * UNIT_S[unit] * 1000);
  return t("rfmIn", { n: number(known, 2), time: duration(Number(window.slice(0, -1)) * WINDOW_S[window.at(-1)]) });
}

function ofIndicators(indicators) {
  const found = (name) => Object.entries(indicators).filter(([called]) => CALLED[name].test(called)).map(([called, given]) => html`${value(given)} <code class="small">${called}</code>`);
  const row = { key: "indicators", source: t("rfmIndicators"), ...Object.fromEntries(PARTS.map((name) => [name, found(name)])) };
  return PARTS.some((name) => row[name].length) ? [row] : [];
}

// Types of events, triggers with what became of their firings, and what nobody took: to be sent again.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part, post, withQuery } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { dayFromToday, duration, number, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { may } from "../lib/roles.js";
import { Badge, Card, Confirm, Loaded, Page, Select, Table, tell } from "../lib/widgets.js";

const DAYS = 7;
const SHOWN = 50;
const SHOWN_DAYS = 28;
const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;
const COLOURS = ["--accent", "--good", "--warn", "--bad", "--muted"];
const STATUSES = ["failed", "due", "decided", "delivered", "nothing", "dropped"];
const ENDED = ["delivered", "nothing", "dropped", "failed"];

async function load() {
  const [types, triggers, counts] = await Promise.all([
    get("/v1/event-types"),
    get("/v1/triggers"),
    get(withQuery("/v1/firings/counts", { days: DAYS })),
  ]);
  return { types, triggers, counts: new Map(counts.triggers.map((c) => [c.trigger, c])) };
}

const countEvents = async () => (await get(withQuery("/v1/reports/events", { since: dayFromToday(1 - SHOWN_DAYS), time_zone: ZONE }))).rows;

export default function Triggers() {
  const loaded = useLoad(load);
  // By themselves: triggers are shown whatever becomes of this report.
  const counted = useLoad(countEvents);
  const reload = () => {
    loaded.reload();
    counted.reload();
  };
  return html`<${Page} title=${t("page.triggers")} end=${html`<button onClick=${reload}>${t("refresh")}</button>`}>
    <${Loaded} of=${loaded}>
      ${({ types, triggers, counts }) => html`
        <${Card} title=${t("triggers")}>
          <p class="muted small">${t("firingsOfDays", { days: DAYS })}</p>
          <${Table} label=${t("triggers")} columns=${triggerColumns(counts)} rows=${triggers.map((one) => ({ ...one, key: one.id }))} />
        <//>
        <${Firings} triggers=${triggers} onSent=${loaded.reload} />
        <${Loaded} of=${counted}>${(rows) => html`<${EventDays} rows=${rows} />`}<//>
        <${Card} title=${t("eventTypes")}>
          <${Table} label=${t("eventTypes")} columns=${typeColumns(triggers, counted.data)} rows=${types.map((one) => ({ ...one, key: one.id }))} />
        <//>
      `}
    <//>
  <//>`;
}

const triggerColumns = (counts) => [
  { label: t("trigger"), cell: (one) => html`<strong>${one.name || one.id}</strong> ${one.status === "paused" && html`<${Badge} kind="paused">${known("status.paused")}<//>`}<div class="muted small">${occasion(one.on)}</div>` },
  { label: t("placement"), cell: (one) => one.placement ?? one.channels.map((c) => c.placement).join(", ") },
  ...ENDED.map((status) => ({ label: t(`firing.${status}`), number: true, cell: (one) => number(counts.get(one.id)?.counts[status] ?? 0) })),
  { label: t("lastFired"), cell: (one) => time(counts.get(one.id)?.last_fired_at) },
];

/** Events a day: a line for each of the busiest types. */
function EventDays({ rows }) {
  const days = [...new Set(rows.map((row) => row.day))].sort();
  if (days.length < 2) return null;
  const names = [...new Set(rows.map((row) => row.type))].sort((a, b) => total(rows, b) - total(rows, a)).slice(0, COLOURS.length);
  const of = new Map(rows.map((row) => [`${row.day} ${row.type}`, row.events]));
  const data = [days.map((at) => Date.parse(at) / 1000), ...names.map((name) => days.map((at) => of.get(`${at} ${name}`) ?? 0))];
  return html`<${Card} title=${t("eventsADay")}>
    <${Chart} label=${t("eventsADay")} height=${200} series=${names.map((name, i) => ({ label: name, colour: COLOURS[i] }))} data=${data} />
  <//>`;
}

const total = (rows, type) => rows.reduce((sum, row) => sum + (row.type === type ? row.events : 0), 0);

const typeColumns = (triggers, rows) => [
  { label: t("eventType"), cell: (one) => html`<strong>${one.name}</strong> <code>${one.id}</code>` },
  { label: t("eventsOfDays", { days: SHOWN_DAYS }), number: true, cell: (one) => (rows ? number(total(rows, one.id)) : "…") },
  { label: t("properties"), cell: (one) => Object.keys(one.json_schema?.properties ?? {}).join(", ") || "–" },
  { label: t("triggers"), cell: (one) => triggers.filter((x) => x.on.event === one.id || x.on.idle.includes(one.id)).map((x) => x.name || x.id).join(", ") || "–" },
];

/** The occasion of a trigger in words. */
function occasion(on) {
  const wait = on.after_s ? ` · ${t("firesAfter", { time: duration(on.after_s) })}` : "";
  const unless = on.unless.length ? ` · ${t("firesUnless", { what: on.unless.join(", ") })}` : "";
  if (on.date) return `${on.event ? `${on.event} · ` : ""}${on.date} · ${t("daysLater", { days: on.days })} · ${on.at}`;
  if (on.idle.length) return `${t("firesIdle", { what: on.idle.join(", ") })}${wait}`;
  return `${on.event ?? on.outcome}${wait}${unless}`;
}

/** Firings of one status, page by page; those that failed can be sent again. */
function Firings({ triggers, onSent }) {
  const [status, setStatus] = useState("failed");
  const [trigger, setTrigger] = useState("");
  const [before, setBefore] = useState([]);
  const [asked, setAsked] = useState(null);
  const query = { status, trigger, cursor: before.at(-1), limit: SHOWN };
  const loaded = useLoad(() => get(withQuery("/v1/firings", query)), [status, trigger, before.at(-1)]);
  const choose = (set) => (wanted) => {
    set(wanted);
    setBefore([]);
  };
  const send = async () => {
    await post(`/v1/firings/${part(asked.firing_id)}/send`);
    tell(t("sentAgain"));
    loaded.reload();
    onSent();
  };
  return html`<${Card} title=${t("firings")}>
    <div class="row">
      <${Select} aria-label=${t("status")} value=${status} onValue=${choose(setStatus)} options=${STATUSES.map((s) => [s, t(`firing.${s}`)])} />
      <${Select} aria-label=${t("trigger")} value=${trigger} onValue=${choose(setTrigger)} options=${[["", t("all")], ...triggers.map((x) => [x.id, x.name || x.id])]} />
    </div>
    <${Loaded} of=${loaded}>
      ${(page) => html`
        <${Table} label=${t("firings")} columns=${firingColumns(setAsked)} rows=${page.firings.map((one) => ({ ...one, key: one.firing_id }))} />
        <div class="row">
          ${before.length > 0 && html`<button onClick=${() => setBefore(before.slice(0, -1))}>${t("newer")}</button>`}
          ${page.next && html`<button onClick=${() => setBefore([...before, page.next])}>${t("older")}</button>`}
        </div>
      `}
    <//>
    ${asked && html`<${Confirm} title=${t("sendAgain")} text=${t("sendAgainText", { trigger: asked.trigger, customer: asked.customer_id })} onDone=${send} onClose=${() => setAsked(null)} />`}
  <//>`;
}

const firingColumns = (ask) => [
  { label: t("firedAt"), cell: (one) => time(one.fired_at) },
  { label: t("trigger"), cell: (one) => one.trigger },
  { label: t("customer"), cell: (one) => html`<a href=${`/console/customers/${part(one.customer_id)}`}>${one.customer_id}</a>` },
  { label: t("why"), cell: (one) => one.reason ?? "–" },
  { label: t("decision"), cell: (one) => (one.decision_id ? html`<a href=${`/console/decisions/${part(one.decision_id)}`}>${one.placement}</a>` : "–") },
  { label: t("sendAgain"), cell: (one) => one.status === "failed" && may("ops") && html`<button class="small" onClick=${() => ask(one)}>${t("sendAgain")}</button>` },
];

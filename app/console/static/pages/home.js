// Home: how it goes, this week against last, and what happens this second.
import { html, useLoad } from "../lib/ui.js";
import { get, part, withQuery } from "../lib/api.js";
import { Chart } from "../lib/chart.js";
import { dayFromToday, number, share, signed, time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { useLive } from "../lib/live.js";
import { Badge, Bar, Card, Interval, Loaded, Page } from "../lib/widgets.js";
import { between, withheld } from "./holdouts.js";

const ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

export default function Home() {
  return html`<${Page} title=${t("page.home")}>
    <${Live} />
    <${Weeks} />
    <div class="grid wide">
      <${Earned} />
      <${Alerts} />
      <${Capacities} />
      <${Drift} />
      <${Changes} />
    </div>
  <//>`;
}

function Live() {
  const { now, history, lost } = useLive();
  if (now === null) return html`<${Card} title=${t("live")}><p class="empty">${t("loading")}</p><//>`;
  const degraded = Object.entries(now.degraded_per_s);
  // A decision can have several reasons: the largest is a lower bound of its share.
  const most = Math.max(0, ...degraded.map(([, rate]) => rate));
  const told = Object.entries(now.feedback_per_s);
  const degradedShare = now.decisions_per_s > 0 ? Math.min(most / now.decisions_per_s, 1) : most > 0 ? 1 : 0;
  return html`<${Card} title=${t("live")} data-testid="live">
    ${lost && html`<div class="note warn" role="alert">${t("liveLost")}</div>`}
    <div class="grid figures">
      <${Figure} label=${t("decisionsPerS")} value=${number(now.decisions_per_s, 1)} note=${t("sinceStart", { n: number(now.decisions) })} />
      <${Figure}
        label=${t("feedbackPerS")}
        value=${number(told.reduce((total, [, rate]) => total + rate, 0), 1)}
        note=${html`<div data-testid="feedback">${told.map(([outcome, rate]) => `${known(`outcome.${outcome}`, outcome)} ${number(rate, 1)}`).join(", ")}</div>
          <span data-testid="accepted-total">${t("acceptedTotal", { n: number(now.outcomes.accepted) })}</span>`}
      />
      <${Figure}
        label=${t("latency")}
        value=${now.latency_ms ? `${number(now.latency_ms.p50, 1)} ms` : "–"}
        note=${now.latency_ms ? t("latencyNote", { p95: number(now.latency_ms.p95, 1), p99: number(now.latency_ms.p99, 1) }) : t("nobodyAsks")}
      />
      <${Figure}
        label=${t("degraded")}
        value=${share(degradedShare)}
        kind=${degradedShare > 0.05 ? "down" : ""}
        note=${degraded.length ? degraded.map(([reason]) => known(`degraded.${reason}`, reason)).join(", ") : t("allWell")}
      />
      <${Figure}
        label=${t("behind")}
        value=${now.learning_behind_s === null ? "–" : `${number(now.learning_behind_s, 1)} s`}
        note=${t("archiveBehind", { s: now.archive_behind_s === null ? "–" : number(now.archive_behind_s, 1) })}
      />
    </div>
    <${Chart}
      label=${t("liveChart")}
      series=${[
        { label: t("decisionsPerS"), colour: "--accent" },
        { label: t("acceptedPerS"), colour: "--good" },
      ]}
      data=${history}
    />
  <//>`;
}

const Figure = ({ label, value, note, kind = "" }) =>
  html`<div><div class="muted small">${label}</div><div class=${`figure ${kind}`}>${value}</div><div class="muted small">${note}</div></div>`;

/** Monday of a week so many weeks ago, as a day. */
function monday(weeksAgo) {
  const now = new Date();
  return dayFromToday(-((now.getUTCDay() + 6) % 7) - 7 * weeksAgo);
}

const COUNTED = ["accepted", "observed", "value"];
const sum = (rows) => Object.fromEntries(COUNTED.map((name) => [name, rows.reduce((total, row) => total + row[name], 0)]));

/** Sums of some days, with the rate and Wilson's 95 % interval of it. */
function summary(rows) {
  const found = sum(rows);
  const { accepted, observed: n } = found;
  if (n === 0) return { ...found, rate: null };
  const z = 1.96;
  const rate = accepted / n;
  const middle = (rate + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((rate * (1 - rate)) / n + (z * z) / (4 * n * n));
  return { ...found, rate, low: middle - half, high: middle + half };
}

/** This week so far, and the same days of the week before. */
async function loadWeeks() {
  const report = (parameters) => get(withQuery("/v1/reports/offers", { since: monday(1), time_zone: ZONE, ...parameters }));
  const [days, control, today] = await Promise.all([
    report({ by: "day" }),
    report({ by: "control_group" }),
    get(withQuery("/v1/reports/acceptance", { by: "day", from: `${dayFromToday(0)}T00:00:00Z` })),
  ]);
  const between = (from, to) => summary(days.rows.filter((row) => row.day >= from && row.day <= to));
  return {
    now: between(monday(0), dayFromToday(0)),
    before: between(monday(1), dayFromToday(-7)),
    control: control.rows,
    open: days.open,
    today: today.rows.reduce((total, row) => total + row.accepted, 0),
  };
}

function Weeks() {
  const loaded = useLoad(loadWeeks);
  return html`<${Loaded} of=${loaded}>
    ${({ now, before, control, open, today }) => {
      const change = (name) => (before[name] ? now[name] / before[name] - 1 : null);
      const held = control.filter((row) => row.control_group && row.rate !== null);
      const most = Math.max(0.01, ...held.map((row) => row.high));
      return html`<div class="grid">
        <${Card} title=${t("acceptance")}>
          <div class="figure">${share(now.rate)}</div>
          <${Change} of=${change("rate")} from=${share(before.rate)} />
          ${now.rate !== null && html`<p class="muted small">${t("interval95", { low: share(now.low), high: share(now.high) })}</p>`}
        <//>
        <${Card} title=${t("accepted")}>
          <div class="figure">${number(now.accepted)}</div>
          <${Change} of=${change("accepted")} from=${number(before.accepted)} />
          <p class="muted small">${t("acceptedToday", { n: number(today) })}</p>
        <//>
        <${Card} title=${t("value")}>
          <div class="figure">${number(now.value)}</div>
          <${Change} of=${change("value")} from=${number(before.value)} />
          <p class="muted small">${t("openOffers", { n: number(open) })}</p>
        <//>
        <${Card} title=${t("controlGroups")}>
          ${held.length === 0 && html`<p class="empty">${t("noControl")}</p>`}
          <ul class="plain">
            ${held.map(
              (row) => html`<li>
                <div class="row">
                  <strong>${known(`control.${row.control_group}`, row.control_group)}</strong>
                  <span>${share(row.rate)}</span>
                  ${row.lift !== null && html`<span class=${row.lift >= 0 ? "up" : "down"}>${t("lift", { lift: signed(row.lift) })}</span>`}
                </div>
                <${Interval} ...${row} most=${most} />
              </li>`,
            )}
          </ul>
        <//>
      </div>`;
    }}
  <//>`;
}

const Change = ({ of, from }) =>
  html`<div class="small">
    ${of === null ? null : html`<strong class=${of >= 0 ? "up" : "down"}>${signed(of)}</strong> `}
    <span class="muted">${t("lastWeek", { value: from })}</span>
  </div>`;

/** What offering is worth, by hold-out; nothing where there is none. */
function Earned() {
  const loaded = useLoad(() => get("/v1/holdouts"));
  return html`<${Loaded} of=${loaded}>
    ${(holdouts) =>
      holdouts.length > 0 &&
      html`<${Card} title=${t("earned")} data-testid="earned">
        <ul class="plain">${holdouts.map((holdout) => html`<${EarnedOf} key=${holdout.id} of=${holdout} />`)}</ul>
        <p class="muted small">${t("earnedPerCustomer")}</p>
        <a class="small" href="/console/reports">${t("page.reports")}</a>
      <//>`}
  <//>`;
}

function EarnedOf({ of }) {
  const loaded = useLoad(() => get(`/v1/reports/holdout/${part(of.id)}`), [of.id]);
  return html`<li>
    <strong>${of.name || of.id}</strong> <span class="muted small">${withheld(of)}</span>
    <${Loaded} of=${loaded}>
      ${(report) => html`
        ${report.measures
          .filter((row) => row.measure !== "acceptances")
          .map((row) => html`<div class="row" key=${row.measure}>${known(`measure.${row.measure}`, row.measure)} <strong>${between(row, "difference", 4)}</strong></div>`)}
        ${report.warnings.map((warning) => html`<p class="muted small" key=${warning.code}>${warning.message}</p>`)}`}
    <//>
  </li>`;
}

function Alerts() {
  const loaded = useLoad(() => get("/v1/alerts?state=firing"));
  return html`<${Card} title=${t("alerts")}><${Loaded} of=${loaded}>
    ${({ alerts }) =>
      alerts.length === 0
        ? html`<p class="empty">${t("noAlerts")}</p>`
        : html`<ul class="plain">${alerts.map(
            (alert) => html`<li><${Badge} kind="bad">${alert.alert_id}<//> ${alert.message} <span class="muted small">${t("since", { at: time(alert.since) })}</span></li>`,
          )}</ul>`}
  <//><//>`;
}

function Capacities() {
  const loaded = useLoad(() => get("/v1/reports/capacity"));
  return html`<${Card} title=${t("capacitiesLeft")}><${Loaded} of=${loaded}>
    ${({ capacities }) =>
      capacities.length === 0
        ? html`<p class="empty">${t("nothing")}</p>`
        : html`<ul class="plain">${capacities.slice(0, 8).map((c) => {
            const used = c.max > 0 ? (c.max - c.remaining) / c.max : 1;
            return html`<li><div class="row"><a href="/console/capacity">${c.name}</a><span class="muted small">${t("leftOf", { left: number(c.remaining), max: number(c.max) })}</span></div>
              <${Bar} of=${used} kind=${used > 0.9 ? "bad" : used > 0.75 ? "warn" : ""} label=${t("used", { share: share(used) })} /></li>`;
          })}</ul>`}
  <//><//>`;
}

function Drift() {
  const loaded = useLoad(() => get("/v1/reports/drift?limit=6"));
  return html`<${Card} title=${t("drift")}><${Loaded} of=${loaded}>
    ${({ detections }) =>
      detections.length === 0
        ? html`<p class="empty">${t("noDrift")}</p>`
        : html`<ul class="plain">${detections.slice(0, 6).map(
            (d) => html`<li><a href=${`/console/offers/${d.offer_id}`}>${d.offer_id}</a> <span class="muted">${d.placement}</span>
              <div>${share(d.rate_before)} → <strong class=${d.rate_after >= d.rate_before ? "up" : "down"}>${share(d.rate_after)}</strong> <span class="muted small">${time(d.detected_at)}</span></div></li>`,
          )}</ul>`}
  <//><//>`;
}

function Changes() {
  const loaded = useLoad(() => get("/v1/catalog?limit=6&whole=false"));
  return html`<${Card} title=${t("latestChanges")}><${Loaded} of=${loaded}>
    ${(rows) => html`<ul class="plain">${rows.map(
      (row) => html`<li><strong>${known(`kind.${row.kind}`, row.kind)} ${row.id}</strong> <span class="muted small">${t("by", { who: row.author, at: time(row.changed_at) })}</span>
        <div class="small">${row.reason || row.differences.slice(0, 3).map((d) => d.path).join(", ")}</div></li>`,
    )}</ul>`}
  <//><//>`;
}

// A customer: what is known, what they agreed to, what was decided for them and why, and what they would get now.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part, post, withQuery } from "../lib/api.js";
import { number, share, time, value } from "../lib/format.js";
import { customerLabel, findCustomer, Found } from "../lib/find_customer.js";
import { known, t } from "../lib/i18n.js";
import { Notes } from "../lib/notes.js";
import { may } from "../lib/roles.js";
import { go } from "../lib/router.js";
import { Badge, Bar, Card, Failure, Field, Input, Loaded, Page, Select, Table } from "../lib/widgets.js";
import { Candidates } from "./candidates.js";
import { CustomerPrivacy } from "./customer_privacy.js";
import { Rfm } from "./customer_rfm.js";

export default function Customer({ id }) {
  return html`<${Page} title=${id ? t("customerTitle", { id }) : t("page.customers")}>
    <${Find} id=${id} />
    ${id && html`<${Known} id=${id} />`}
  <//>`;
}

function Find({ id }) {
  const [wanted, setWanted] = useState(id ?? "");
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const show = (customer) => {
    setWanted(customer);
    go(`/console/customers/${part(customer)}`);
  };
  const find = async (event) => {
    event.preventDefault();
    setFound(null);
    setError(null);
    await findCustomer(wanted.trim(), show, setFound).catch(setError);
  };
  return html`<form class="card" onSubmit=${find}>
    <${Field} label=${customerLabel()}>
      ${(a) => html`<div class="row"><${Input} ...${a} value=${wanted} onValue=${setWanted} required autocomplete="off" style=${{ width: "16rem" }} /><button class="primary">${t("show")}</button></div>`}
    <//>
    ${error && html`<${Failure} error=${error} />`}
    ${found && html`<${Found} of=${found} onChoose=${show} onClose=${() => setFound(null)} />`}
  </form>`;
}

async function load(asked) {
  const none = (error) => (error.status === 404 ? null : Promise.reject(error));
  const customer = await get(`/v1/customers/${part(asked)}`).catch(none);
  // Of an alias it is the customer's record, and so is all the rest.
  const id = customer?.customer_id ?? asked;
  const [policies, placements, lists] = await Promise.all([
    get("/v1/contact-policies"),
    get("/v1/placements"),
    get(`/v1/customers/${part(id)}/suppressions?limit=1`),
  ]);
  return { id, customer, policies, placements, signals: lists.signals ?? [] };
}

function Known({ id: asked }) {
  const [erased, setErased] = useState(0);
  const loaded = useLoad(() => load(asked), [asked, erased]);
  const onErased = () => setErased((n) => n + 1);
  return html`<${Loaded} of=${loaded}>
    ${({ id, customer, policies, placements, signals }) => html`
      ${id !== asked && html`<div class="note">${t("aliasOf", { alias: asked, id })}</div>`}
      ${signals.length > 0 &&
      html`<div class="note warn"><ul class="plain">${signals.map((x) => html`<li><${Badge} kind="bad">${t("lastingSignal")}<//> ${x.name} <span class="muted small">${x.signal} · ${t("until", { at: time(x.until) })}</span></li>`)}</ul></div>`}
      ${customer === null ? html`<div class="note warn">${t("unknownCustomer")}</div>` : html`<${Profile} of=${customer} />`}
      ${may("ops") && html`<${Now} id=${id} placements=${placements} />`}
      ${may("ops") &&
      html`<div class="two">
        <${Notes} key=${`notes ${id} ${erased}`} customer=${id} />
        <${CustomerPrivacy} key=${`privacy ${id}`} ...${{ id, onErased }} />
      </div>`}
      <${Timeline} key=${erased} ...${{ id, customer, policies }} />
    `}
  <//>`;
}

const Facts = ({ of }) =>
  html`<dl class="facts">${Object.entries(of).map(([name, given]) => html`<dt>${name}</dt><dd>${value(given)}</dd>`)}</dl>`;

function Profile({ of }) {
  const interests = Object.entries(of.interests).sort(([, a], [, b]) => b - a);
  const propensities = Object.entries(of.propensities).sort(([, a], [, b]) => b - a).slice(0, 8);
  return html`<div class="grid wide">
    <${Card} title=${t("profile")}><${Facts} of=${{ ...of.attributes, ...of.indicators }} />
      ${of.household_id && html`<p><strong>${t("household")}</strong> ${of.household_id}</p>`}
      ${of.holdings.length > 0 && html`<p><strong>${t("holdings")}</strong> ${of.holdings.map((x) => html`<${Badge}>${x}<//> `)}</p>`}
    <//>
    <${Card} title=${t("consents")}>
      ${Object.keys(of.consents).length === 0 && html`<p class="empty">${t("noConsents")}</p>`}
      <ul class="plain">
        ${Object.entries(of.consents).map(([purpose, channels]) => html`<li><${Badge} kind="good">${t("consented")}<//> ${purpose}: ${channels.join(", ")}</li>`)}
        ${Object.entries(of.objections).map(([purpose, channels]) => html`<li><${Badge} kind="bad">${t("objected")}<//> ${purpose}: ${channels.join(", ")}</li>`)}
        ${of.suppressions.map((x) => html`<li><${Badge} kind="bad">${t("suppressed")}<//> ${x.list_id} ${x.reason} <span class="muted small">${x.until ? t("until", { at: time(x.until) }) : ""}</span></li>`)}
      </ul>
    <//>
    ${interests.length + propensities.length > 0 &&
    html`<${Card} title=${t("interestsAndPropensities")}>
      ${[...interests, ...propensities].map(([name, x]) => html`<div class="row small"><span style=${{ width: "9rem" }}>${name}</span><div style=${{ flex: 1 }}><${Bar} of=${x} /></div><span class="number">${share(x)}</span></div>`)}
    <//>`}
  </div>`;
}

/** What the customer would get, without deciding anything: a dry run with its explanation. */
function Now({ id, placements }) {
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const ask = async (event) => {
    event.preventDefault();
    try {
      setFound(await post("/v1/decisions", { customer_id: id, placement, dry_run: true, explain: true }));
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Card} title=${t("whatNow")}>
    <form class="row" onSubmit=${ask}>
      <${Select} class="short" aria-label=${t("placement")} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />
      <button class="primary">${t("tryOut")}</button>
      <span class="muted small">${t("dryRun")}</span>
    </form>
    ${error && html`<${Failure} error=${error} />`}
    ${found &&
    html`${found.degraded.length > 0 && html`<div class="note warn">${found.degraded.map((r) => known(`degraded.${r}`, r)).join(", ")}</div>`}
      <${Candidates} of=${found.explanation} titles=${Object.fromEntries(found.offers.map((o) => [o.offer_id, o.treatment?.title]))} />`}
  <//>`;
}

/** Contacts of the last days, against the policies that count them. */
function limitsUsed(decisions, policies) {
  return policies.map((policy) => {
    const from = Date.now() - policy.window_s * 1000;
    const counted = decisions
      .filter((d) => Date.parse(d.decided_at) >= from && (policy.channels.length === 0 || policy.channels.includes(d.channel)))
      .reduce((n, d) => n + d.offers.filter((o) => policy.outcomes.includes("decided") || o.outcomes.some((x) => policy.outcomes.includes(x.outcome))).length, 0);
    return { key: policy.id, name: policy.per === "household" ? t("limitOfHousehold", { policy: policy.name }) : policy.name, counted, max: policy.max, scope: policy.scope };
  });
}

function Timeline({ id, customer, policies }) {
  const [pages, setPages] = useState([]);
  const loaded = useLoad(() => get(`/v1/customers/${part(id)}/decisions?limit=30`), [id]);
  const more = async (before) => {
    const next = await get(withQuery(`/v1/customers/${part(id)}/decisions`, { limit: 30, before }));
    setPages([...pages, next]);
  };
  return html`<${Loaded} of=${loaded}>
    ${(first) => {
      const all = [first, ...pages];
      const decisions = all.flatMap((page) => page.decisions);
      const next = all.at(-1).next;
      const counted = limitsUsed(decisions, policies.filter((p) => p.scope === "all"));
      return html`<div class="two">
        <${Card} title=${t("timeline")}>
          ${decisions.length === 0 && html`<p class="empty">${t("noDecisions")}</p>`}
          <ol class="timeline">${decisions.map((d) => html`<${Moment} key=${d.decision_id} of=${d} />`)}</ol>
          ${next && html`<p><button onClick=${() => more(next)}>${t("showMore")}</button></p>`}
        <//>
        <div>
          <${Rfm} ...${{ id, customer, decisions }} />
          <${Card} title=${t("limitsUsed")}>
            <p class="muted small">${t("limitsUsedHint")}</p>
            <${Table}
              label=${t("limitsUsed")}
              rows=${counted}
              columns=${[
                { label: t("contactPolicy"), cell: (p) => p.name },
                { label: t("counted"), number: true, cell: (p) => html`<span class=${p.counted >= p.max ? "down" : ""}>${number(p.counted)} / ${number(p.max)}</span>` },
              ]}
            />
          <//>
        </div>
      </div>`;
    }}
  <//>`;
}

const Moment = ({ of }) =>
  html`<li>
    <div class="row">
      <a href=${`/console/decisions/${part(of.decision_id)}`}>${time(of.decided_at)}</a>
      <span class="muted small">${of.placement} · ${of.policy} · ${known(`control.${of.control_group}`, of.control_group)}</span>
      ${of.degraded.map((reason) => html`<${Badge} kind="warn">${known(`degraded.${reason}`, reason)}<//>`)}
    </div>
    ${of.offers.map(
      (o) => html`<div class="small"><a href=${`/console/offers/${part(o.offer_id)}`}>${o.rank}. ${o.offer_id}</a>
        ${o.outcomes.map((x) => html` <span class="badge ${x.outcome === "accepted" ? "good" : ""}">${known(`outcome.${x.outcome}`, x.outcome)}</span>`)}</div>`,
    )}
    ${of.offers.length === 0 && html`<span class="muted small">${t("nothingNow")}</span>`}
  </li>`;

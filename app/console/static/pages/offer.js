// The editor of an offer: what it is, to whom it may go, how often, and how it is put.
import { html, useLoad, useRef, useState } from "../lib/ui.js";
import { get, part, patch, withQuery } from "../lib/api.js";
import { Builder, CelInput, loadVocabulary, Matching } from "../lib/cel.js";
import { duration, number } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { AddTo } from "../lib/changesets.js";
import { Meanwhile, readNewer } from "../lib/meanwhile.js";
import { may, mayChange } from "../lib/roles.js";
import { Card, Failure, Field, Funnel, Input, Interval, Loaded, mistakeIn, Page, Select, tell } from "../lib/widgets.js";
import { OfferPreview } from "./offer_preview.js";
import { RecentFunnel } from "./offer_funnel.js";
import { NEXT, StatusOf } from "./offers.js";
import { Treatments } from "./treatments.js";

const TIERS = ["eligibility", "applicability", "suitability"];
const BASES = ["consent", "contract", "legitimate_interest", "legal_obligation"];

/** `seen`: the tag of what was replaced, which is not read again. */
async function load(id, seen) {
  const [{ answer: offer, etag }, vocabulary, groups, placements, report] = await Promise.all([
    readNewer(`/v1/offers/${part(id)}`, seen),
    loadVocabulary(),
    get("/v1/groups"),
    get("/v1/placements"),
    get(withQuery("/v1/reports/offers", { by: "offer", offer: id })),
  ]);
  return { offer, etag, vocabulary, groups, placements, row: report.rows[0] };
}

export default function Offer({ id }) {
  const seen = useRef(null);
  const loaded = useLoad(() => load(id, seen.current), [id]);
  const reload = (etag = seen.current) => {
    seen.current = etag;
    return loaded.reload();
  };
  return html`<${Loaded} of=${loaded}>
    ${(found) => html`<${Editor} key=${found.etag} ...${found} reload=${reload} />`}
  <//>`;
}

/** What of an offer is edited here, as a PATCH takes it. */
const editable = ({ name, group, value, lever, mandatory, requires_consent, legal_basis, rules, contact_limits }) => ({
  name, group, value, lever, mandatory, requires_consent, legal_basis, rules, contact_limits,
});

/** What is shown of the changes that others save meanwhile. */
const watched = (offer) => ({ ...editable(offer), status: offer.status });

function Editor({ offer: read, etag: readTag, vocabulary, groups, placements, row, reload }) {
  // What the changes are made to: as it was read, or as somebody else has saved it meanwhile.
  const [newer, setNewer] = useState(null);
  const { offer, etag } = newer ?? { offer: read, etag: readTag };
  const [theirs, setTheirs] = useState(null);
  const [draft, setDraft] = useState(() => editable(offer));
  const [reason, setReason] = useState("");
  const [status, setStatus] = useState(offer.status);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const set = (changed) => setDraft((old) => ({ ...old, ...changed }));
  const mistake = (field) => mistakeIn(error, field);
  const before = editable(offer);
  const changed = Object.keys(draft).filter((name) => JSON.stringify(draft[name]) !== JSON.stringify(before[name]));
  const body = Object.fromEntries(changed.map((name) => [name, draft[name]]));
  const wanted = status === offer.status ? body : { ...body, status };
  const discard = () => {
    setDraft(before);
    setStatus(offer.status);
  };
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const headers = { "If-Match": etag, "X-Reason": asciiOf(reason) };
      const answer = await patch(`/v1/offers/${part(offer.offer_id)}`, body, headers);
      tell(t("savedOffer", { offer: answer.name }));
      for (const warning of answer.warnings ?? []) tell(`${warning.field}: ${warning.message}`, "warn");
      await reload(etag);
    } catch (problem) {
      await refuse(problem).catch(setError);
    }
    setBusy(false);
  };
  const refuse = async (problem) => {
    setError(problem.status === 412 ? null : problem);
    setTheirs(problem.status === 412 ? await readNewer(`/v1/offers/${part(offer.offer_id)}`, etag) : null);
  };
  const goOn = (isKept) => {
    setNewer({ offer: theirs.answer, etag: theirs.etag });
    setDraft({ ...editable(theirs.answer), ...(isKept ? body : {}) });
    setStatus(theirs.answer.status);
    setTheirs(null);
  };
  const end = html`<${StatusOf} offer=${offer} reload=${() => reload(etag)} />`;
  const locked = !may("ops");
  const channels = [...new Set(placements.map((placement) => placement.channel))].sort();
  return html`<${Page} title=${offer.name} end=${end}>
    <div class="two">
      <form onSubmit=${mayChange() ? save : (event) => event.preventDefault()}>
        <fieldset class="plain-fieldset" disabled=${locked}>
          <${Basics} ...${{ draft, set, groups, mistake }} />
          <${Rules} ...${{ draft, set, vocabulary, mistake, offer }} />
          <${Limits} ...${{ draft, set, offer, mistake }} />
        </fieldset>
        ${error && html`<${Failure} error=${error} />`}
        ${theirs && html`<${Meanwhile} before=${watched(offer)} theirs=${watched(theirs.answer)} mine=${{ ...watched(offer), ...draft }} nameOf=${(name) => known(`field.${name}`, t(name))} onKeep=${() => goOn(true)} onDiscard=${() => goOn(false)} />`}
        ${!locked &&
        html`<${Card} title=${t(mayChange() ? "save" : "addToChangeset")}>
          <div class="stack">
            <p class="muted small">${changed.length ? t("changedFields", { fields: changed.map((f) => t(`field.${f}`)).join(", ") }) : t("nothingChanged")}</p>
            ${mayChange()
              ? html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>
                  <div class="row">
                    <button class="primary" disabled=${busy || theirs !== null || changed.length === 0}>${t("save")}</button>
                    <button type="button" disabled=${changed.length === 0} onClick=${discard}>${t("discard")}</button>
                  </div>`
              : html`<p>${t("approvalsRequired")}</p>
                  <${Field} label=${t("status")}>
                    ${(a) => html`<${Select} ...${a} value=${status} onValue=${setStatus} options=${[offer.status, ...NEXT[offer.status]].map((s) => [s, t(`status.${s}`)])} />`}
                  <//>`}
            <${AddTo} kind="offer" thing=${offer.offer_id} body=${wanted} disabled=${Object.keys(wanted).length === 0} onDone=${discard} />
          </div>
        <//>`}
      </form>
      <div>
        <${Result} row=${row} />
        <${RecentFunnel} id=${offer.offer_id} />
        ${!locked && html`<${OfferPreview} ...${{ offer, draft, placements, vocabulary }} isChanged=${changed.length > 0} />`}
        <${Treatments} ...${{ offer, channels, vocabulary, locked, reload }} />
      </div>
    </div>
  <//>`;
}

/** Headers hold ASCII: accents are left out of the reason that is kept. */
export const asciiOf = (text) => text.normalize("NFD").replace(/[^\x20-\x7e]/g, "");

export function Basics({ draft, set, groups, mistake }) {
  return html`<${Card} title=${t("basics")}>
    <div class="fields">
      <${Field} label=${t("field.name")} mistake=${mistake("name")}>${(a) => html`<${Input} ...${a} value=${draft.name} onValue=${(name) => set({ name })} required />`}<//>
      <${Field} label=${t("field.group")} mistake=${mistake("group")}>
        ${(a) => html`<${Select} ...${a} value=${draft.group} onValue=${(group) => set({ group })} options=${groups.map((g) => [g.group_id, g.name])} />`}
      <//>
      <${Field} label=${t("field.value")} hint=${t("valueHint")} mistake=${mistake("value")}>
        ${(a) => html`<${Input} ...${a} type="number" step="any" min="0" value=${draft.value} onValue=${(v) => set({ value: Number(v) })} />`}
      <//>
      <${Field} label=${t("field.lever")} hint=${t("leverHint")} mistake=${mistake("lever")}>
        ${(a) => html`<${Input} ...${a} type="number" step="any" value=${draft.lever} onValue=${(v) => set({ lever: Number(v) })} />`}
      <//>
    </div>
    <p><label><input type="checkbox" checked=${draft.mandatory} onChange=${(e) => set({ mandatory: e.currentTarget.checked })} /> ${t("mandatory")}</label></p>
  <//>`;
}

export function Rules({ draft, set, vocabulary, mistake, offer }) {
  const change = (i, changed) => set({ rules: draft.rules.map((rule, n) => (n === i ? { ...rule, ...changed } : rule)) });
  const inherited = offer.inherited.flatMap((from) => from.rules.map((rule) => ({ ...rule, from })));
  return html`<${Card} title=${t("rules")}>
    <p class="muted small">${t("rulesHint")}</p>
    ${inherited.map((rule) => html`<p class="small"><strong>${rule.name}</strong> <span class="muted">${t("inherited")}</span> <code>${rule.when}</code></p>`)}
    <div class="stack">
      ${draft.rules.map(
        (rule, i) => html`<div class="stack" key=${i}>
          <div class="fields">
            <${Field} label=${t("ruleName")} mistake=${mistake(`rules.${i}.name`)}>${(a) => html`<${Input} ...${a} value=${rule.name} onValue=${(name) => change(i, { name })} />`}<//>
            <${Field} label=${t("tier")}>
              ${(a) => html`<${Select} ...${a} value=${rule.tier} onValue=${(tier) => change(i, { tier })} options=${TIERS.map((x) => [x, t(`tier.${x}`)])} />`}
            <//>
          </div>
          <${Field} label=${t("condition")} mistake=${mistake(`rules.${i}.when`) ?? mistake(`rules.${rule.name}`)}>
            ${(a) => html`<${CelInput} ...${a} value=${rule.when} onValue=${(when) => change(i, { when })} vocabulary=${vocabulary} />`}
          <//>
          <${Builder} id=${`rule-${i}`} vocabulary=${vocabulary} onAdd=${(text) => change(i, { when: rule.when.trim() ? `${rule.when} && ${text}` : text })} />
          <${Matching} expression=${rule.when} onSuggestion=${(when) => change(i, { when })} />
          <div><button type="button" class="small danger" onClick=${() => set({ rules: draft.rules.filter((_, n) => n !== i) })}>${t("removeRule", { rule: rule.name })}</button></div>
        </div>`,
      )}
      <div><button type="button" onClick=${() => set({ rules: [...draft.rules, { name: t("newRule"), tier: "eligibility", when: "" }] })}>${t("addRule")}</button></div>
    </div>
    ${draft.rules.length + inherited.length > 1 && html`<h3>${t("together")}</h3><${Matching} expression=${all([...inherited, ...draft.rules])} onSuggestion=${() => null} />`}
  <//>`;
}

const all = (rules) => rules.filter((r) => r.when.trim()).map((r) => `(${r.when})`).join(" && ");

export function Limits({ draft, set, offer, mistake }) {
  const change = (i, changed) => set({ contact_limits: draft.contact_limits.map((x, n) => (n === i ? { ...x, ...changed } : x)) });
  const more = offer.inherited.flatMap((from) => from.contact_limits ?? []);
  return html`<${Card} title=${t("consentAndLimits")}>
    <div class="fields">
      <${Field} label=${t("field.legal_basis")} mistake=${mistake("legal_basis")}>
        ${(a) => html`<${Select} ...${a} value=${draft.legal_basis} onValue=${(legal_basis) => set({ legal_basis })} options=${BASES.map((b) => [b, t(`basis.${b}`)])} />`}
      <//>
      <${Field} label=${t("field.requires_consent")} hint=${t("consentHint")} mistake=${mistake("requires_consent")}>
        ${(a) => html`<${Input} ...${a} value=${draft.requires_consent ?? ""} onValue=${(v) => set({ requires_consent: v || null })} />`}
      <//>
    </div>
    <p>${consentInWords(draft)}</p>
    <ul class="plain">
      ${more.map((limit) => html`<li>${t("limitWords", { max: limit.max, window: duration(limit.window_s) })} <span class="muted">${t("inherited")}</span></li>`)}
      ${draft.contact_limits.map(
        (limit, i) => html`<li class="row">
          <label>${t("atMost")} <input class="short" type="number" min="1" value=${limit.max} onInput=${(e) => change(i, { max: Number(e.currentTarget.value) })} /></label>
          <label>${t("inDays")} <input class="short" type="number" min="0.01" step="any" value=${limit.window_s / 86400} onInput=${(e) => change(i, { window_s: Math.round(Number(e.currentTarget.value) * 86400) })} /></label>
          <span class="muted small">${t("limitWords", { max: limit.max, window: duration(limit.window_s) })}</span>
          <button type="button" class="small danger" onClick=${() => set({ contact_limits: draft.contact_limits.filter((_, n) => n !== i) })}>${t("remove")}</button>
        </li>`,
      )}
    </ul>
    <p><button type="button" onClick=${() => set({ contact_limits: [...draft.contact_limits, { max: 1, window_s: 86400 }] })}>${t("addLimit")}</button></p>
  <//>`;
}

function consentInWords({ requires_consent: purpose, legal_basis: basis }) {
  if (!purpose) return t("consentNone");
  return t(basis === "consent" ? "consentNeeded" : "objectionStops", { purpose });
}

function Result({ row }) {
  if (!row) return html`<${Card} title=${t("funnel")}><p class="empty">${t("noAnswers")}</p><//>`;
  const steps = ["decided", "presented", "clicked", "accepted"].map((name) => [t(`step.${name}`), row[name]]);
  return html`<${Card} title=${t("funnel")}>
    <${Funnel} steps=${steps} />
    <h3>${t("acceptance")}</h3>
    <${Interval} ...${row} most=${Math.max(row.high, 0.05)} />
    <p class="muted small">${t("openOffers", { n: number(row.open) })}</p>
  <//>`;
}

// A new offer: its id, what it is, to whom it may go and how often. It begins as a draft; treatments come after.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, idPart, part, put } from "../lib/api.js";
import { loadVocabulary } from "../lib/cel.js";
import { AddTo } from "../lib/changesets.js";
import { t } from "../lib/i18n.js";
import { useIdMistake } from "../lib/new_id.js";
import { mayChange } from "../lib/roles.js";
import { go } from "../lib/router.js";
import { Card, Failure, Field, Input, Loaded, mistakeIn, Page, tell } from "../lib/widgets.js";
import { asciiOf, Basics, Limits, Rules } from "./offer.js";

const EMPTY = {
  name: "", value: 1, lever: 0, status: "draft", mandatory: false, requires_consent: null, legal_basis: "consent", rules: [], contact_limits: [],
};

async function load() {
  const [vocabulary, groups, goals] = await Promise.all([loadVocabulary(), get("/v1/groups"), get("/v1/goals")]);
  return { vocabulary, groups, goals };
}

export default function NewOffer() {
  const loaded = useLoad(load);
  return html`<${Page} title=${t("newOffer")}>
    <${Loaded} of=${loaded}>${(found) => (found.groups.length ? html`<${Editor} ...${found} />` : html`<p class="note warn">${t("noGroups")}</p>`)}<//>
  <//>`;
}

/** What the group and its goal demand of the offer besides. */
const inheritedOf = (group, goals) => [group, goals.find((goal) => goal.id === group?.goal)].filter(Boolean);

function Editor({ vocabulary, groups, goals }) {
  const [id, setId] = useState("");
  const [draft, setDraft] = useState({ ...EMPTY, group: groups[0].group_id });
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const idMistake = useIdMistake(id, "/v1/offers");
  const set = (changed) => setDraft((old) => ({ ...old, ...changed }));
  const mistake = (field) => mistakeIn(error, field);
  const refuse = (problem) => {
    setError(problem.status === 412 ? { ...problem, message: t("idTaken"), errors: [{ field: "offer_id", reason: t("idTaken") }] } : problem);
  };
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const answer = await put(`/v1/offers/${idPart(id)}`, draft, { "If-None-Match": "*", "X-Reason": asciiOf(reason) });
      tell(t("madeOffer", { offer: draft.name }));
      for (const warning of answer.warnings ?? []) tell(`${warning.field}: ${warning.message}`, "warn");
      go(`/console/offers/${part(id)}`);
    } catch (problem) {
      refuse(problem);
      setBusy(false);
    }
  };
  const offer = { inherited: inheritedOf(groups.find((g) => g.group_id === draft.group), goals) };
  const named = groups.map((g) => ({ ...g, name: `${g.name} · ${t(`goal.${g.goal}`)}` }));
  return html`<form onSubmit=${mayChange() ? save : (event) => event.preventDefault()}>
    <${Card}>
      <${Field} label=${t("offerId")} hint=${t("idHint")} mistake=${mistake("offer_id") ?? mistake("thing") ?? idMistake}>
        ${(a) => html`<${Input} ...${a} value=${id} onValue=${(v) => { setId(v); setError(null); }} required autocomplete="off" spellcheck="false" />`}
      <//>
      <p class="muted small">${t("newOfferHint")}</p>
    <//>
    <${Basics} ...${{ draft, set, mistake }} groups=${named} />
    <${Rules} ...${{ draft, set, vocabulary, mistake, offer }} />
    <${Limits} ...${{ draft, set, offer, mistake }} />
    ${error && html`<${Failure} error=${error} />`}
    <${Card} title=${t(mayChange() ? "save" : "addToChangeset")}>
      <div class="stack">
        ${mayChange()
          ? html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>
              <div class="row"><button class="primary" disabled=${busy}>${t("create")}</button><a class="button" href="/console/offers">${t("cancel")}</a></div>`
          : html`<p>${t("approvalsRequired")}</p>`}
        <${AddTo} whole=${`/v1/offers/${idPart(id)}`} kind="offer" thing=${id} body=${draft} disabled=${!id || !draft.name} onDone=${() => go("/console/changes")} onError=${refuse} />
      </div>
    <//>
  </form>`;
}

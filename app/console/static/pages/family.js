// The editor of a family of offers, a group or a goal: its lever, and what it demands of all its offers. Made, changed and removed.
import { html, useEffect, useLoad, useRef, useState } from "../lib/ui.js";
import { get, getTagged, idPart, part, patch, put, remove, withQuery } from "../lib/api.js";
import { loadVocabulary } from "../lib/cel.js";
import { AddTo } from "../lib/changesets.js";
import { t } from "../lib/i18n.js";
import { Meanwhile, readNewer } from "../lib/meanwhile.js";
import { useIdMistake } from "../lib/new_id.js";
import { may, mayChange } from "../lib/roles.js";
import { go } from "../lib/router.js";
import { Card, Failure, Field, Input, Loaded, mistakeIn, Page, Select, tell } from "../lib/widgets.js";
import { asciiOf, Limits, Rules } from "./offer.js";

export const GOALS = ["acquire", "grow", "retain", "serve"];
const LIST = "/console/groups";
const DEMANDS = { lever: 0, requires_consent: null, legal_basis: "consent", rules: [], contact_limits: [] };
const EMPTY = { goal: DEMANDS, group: { name: "", goal: "grow", ...DEMANDS } };
/** What a goal's offers would lose with it: it is shown before, so all of it is confirmed. */
const LOST = "consent,legal_basis,rules,limits";
const NAMED = 3;

const nameOf = (kind, id, found) => (kind === "goal" ? t(`goal.${id}`) : (found?.name ?? id));
const pathOf = (kind, id) => `/v1/${kind}s/${idPart(id)}`;
const editable = (kind, of) => Object.fromEntries(Object.keys(EMPTY[kind]).map((name) => [name, of[name]]));

/** `seen`: the tag of what was replaced, which is not read again. */
async function load(kind, id, seen) {
  // Of the goals there are four, declared or not.
  const isUndeclared = (error) => (kind === "goal" && error.status === 404 ? { answer: null, etag: null } : Promise.reject(error));
  const find = kind === "goal" && seen === null ? getTagged : readNewer;
  const read = id === undefined ? { answer: null, etag: null } : find(pathOf(kind, id), seen).catch(isUndeclared);
  const [{ answer, etag }, vocabulary, goals, offers] = await Promise.all([read, loadVocabulary(), get("/v1/goals"), get("/v1/offers?brief=true")]);
  return { found: answer, etag, vocabulary, goals, users: offers.filter((offer) => kind === "group" && offer.group === id) };
}

/** `kind`: "group" or "goal"; without an `id`, a new group. */
export function Family({ kind, id }) {
  const seen = useRef(null);
  const loaded = useLoad(() => load(kind, id, seen.current), [kind, id]);
  const reload = (etag) => {
    seen.current = etag;
    return loaded.reload();
  };
  return html`<${Loaded} of=${loaded}>${(found) => html`<${Editor} key=${found.etag} ...${{ kind, ...found }} given=${id} reload=${reload} />`}<//>`;
}

function Editor({ kind, given, found: read, etag: readTag, vocabulary, goals, users, reload }) {
  // What the changes are made to: as it was read, or as somebody else has saved it meanwhile.
  const [newer, setNewer] = useState(null);
  const { found, etag } = newer ?? { found: read, etag: readTag };
  const [theirs, setTheirs] = useState(null);
  const before = found ? editable(kind, found) : EMPTY[kind];
  const [id, setId] = useState(given ?? "");
  const [draft, setDraft] = useState(before);
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [removing, setRemoving] = useState(false);
  const idMistake = useIdMistake(given === undefined ? id : "", "/v1/groups");
  const set = (changed) => setDraft((old) => ({ ...old, ...changed }));
  const mistake = (field) => mistakeIn(error, field);
  const editsOf = (edited) => Object.fromEntries(Object.entries(edited).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(before[name])));
  const edits = editsOf(draft);
  const changed = Object.keys(edits);
  const body = found ? edits : draft;
  const name = kind === "goal" ? nameOf(kind, id) : draft.name;
  const isReady = found ? changed.length > 0 : id !== "" && draft.name !== "";
  const refuse = async (problem) => {
    const isTaken = problem.status === 412 && given === undefined;
    setError(isTaken ? { ...problem, message: t("idTaken"), errors: [{ field: "group_id", reason: t("idTaken") }] } : problem);
    if (problem.status !== 412 || isTaken) return;
    // A goal may be new in a change set only: then there is nothing else to read.
    const now = await readNewer(pathOf(kind, id), etag).catch(() => null);
    if (now) setError(null);
    setTheirs(now);
  };
  const goOn = (now, isKept) => {
    setNewer({ found: now.answer, etag: now.etag });
    setDraft((old) => ({ ...editable(kind, now.answer), ...(isKept ? editsOf(old) : {}) }));
    setTheirs(null);
  };
  /** Shows what is to be removed as somebody else has saved it; beside what is edited here, if anything is. */
  const lookAgain = async () => {
    const now = await readNewer(pathOf(kind, id), etag);
    if (changed.length > 0) setTheirs(now);
    else goOn(now, true);
  };
  const save = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      const told = { "X-Reason": asciiOf(reason) };
      const answer = await (found
        ? patch(pathOf(kind, id), body, { "If-Match": etag, ...told })
        : put(pathOf(kind, id), body, { "If-None-Match": "*", ...told }));
      tell(t("savedOffer", { offer: name }));
      for (const warning of answer.warnings ?? []) tell(`${warning.field}: ${warning.message}`, "warn");
      if (!found) return go(kind === "goal" ? LIST : `${LIST}/${part(id)}`);
      await reload(etag);
    } catch (problem) {
      await refuse(problem);
    }
    setBusy(false);
  };
  const locked = !may("ops");
  const inherited = kind === "group" ? goals.filter((goal) => goal.id === draft.goal) : [];
  const title = given === undefined ? t("newGroup") : t(`${kind}Title`, { name: nameOf(kind, id, found) });
  const end = found && !locked && html`<button class="danger" onClick=${() => setRemoving(true)}>${t("removeThing")}</button>`;
  const note = theirs && html`<${Meanwhile} before=${before} theirs=${editable(kind, theirs.answer)} mine=${draft} nameOf=${(field) => t(`field.${field}`)} onKeep=${() => goOn(theirs, true)} onDiscard=${() => goOn(theirs, false)} />`;
  return html`<${Page} title=${title} end=${end}>
    ${removing && html`<${Removal} ...${{ kind, id, found, etag, users, lookAgain, note }} onDone=${() => setRemoving(false)} />`}
    <form onSubmit=${mayChange() ? save : (event) => event.preventDefault()}>
      <fieldset class="plain-fieldset" disabled=${locked}>
        <${Card} title=${t("basics")}>
          ${given === undefined &&
          html`<${Field} label=${t("groupId")} hint=${t("idHint")} mistake=${mistake("group_id") ?? idMistake}>
            ${(a) => html`<${Input} ...${a} value=${id} onValue=${(v) => { setId(v); setError(null); }} required autocomplete="off" spellcheck="false" />`}
          <//>`}
          <div class="fields">
            ${kind === "group" &&
            html`<${Field} label=${t("field.name")} mistake=${mistake("name")}>${(a) => html`<${Input} ...${a} value=${draft.name} onValue=${(v) => set({ name: v })} required />`}<//>
              <${Field} label=${t("field.goal")} mistake=${mistake("goal")}>
                ${(a) => html`<${Select} ...${a} value=${draft.goal} onValue=${(goal) => set({ goal })} options=${GOALS.map((goal) => [goal, t(`goal.${goal}`)])} />`}
              <//>`}
            <${Field} label=${t("field.lever")} hint=${t("leverHint")} mistake=${mistake("lever")}>
              ${(a) => html`<${Input} ...${a} type="number" step="any" value=${draft.lever} onValue=${(v) => set({ lever: Number(v) })} />`}
            <//>
          </div>
          <p class="muted small">${t("familyHint")}</p>
        <//>
        <${Rules} ...${{ draft, set, vocabulary, mistake }} offer=${{ inherited }} />
        <${Limits} ...${{ draft, set, mistake }} offer=${{ inherited }} />
      </fieldset>
      ${error && html`<${Failure} error=${error} />`}
      ${!removing && note}
      ${!locked &&
      html`<${Card} title=${t(mayChange() ? "save" : "addToChangeset")}>
        <div class="stack">
          ${found && html`<p class="muted small">${changed.length ? t("changedFields", { fields: changed.map((f) => t(`field.${f}`)).join(", ") }) : t("nothingChanged")}</p>`}
          ${mayChange()
            ? html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>
                <div class="row">
                  <button class="primary" disabled=${busy || theirs !== null || (found && !isReady)}>${t(found ? "save" : "create")}</button>
                  <a class="button" href=${LIST}>${t("cancel")}</a>
                </div>`
            : html`<p>${t("approvalsRequired")}</p>`}
          <${AddTo} whole=${found ? undefined : pathOf(kind, id)} kind=${kind} thing=${id} body=${body} disabled=${theirs !== null || !isReady} onDone=${() => go("/console/changes")} onError=${refuse} />
        </div>
      <//>`}
    </form>
  <//>`;
}

/** Takes it away, at once or by a change set, after saying what goes with it and who uses it. */
function Removal({ kind, id, found, etag, users, lookAgain, note, onDone }) {
  const [reason, setReason] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  useEffect(() => form.current.querySelector("input, select")?.focus(), []);
  const name = nameOf(kind, id, found);
  const submit = async (event) => {
    event.preventDefault();
    if (!mayChange()) return;
    setBusy(true);
    try {
      const path = withQuery(pathOf(kind, id), { confirm_removal: kind === "goal" ? LOST : "" });
      await remove(path, { "If-Match": etag, "X-Reason": asciiOf(reason) });
      tell(t("removedThing", { name }));
      go(LIST);
    } catch (problem) {
      setError(problem);
      // Somebody changed it: what is to be removed is shown as it is now.
      if (problem.status === 412) await lookAgain().catch(setError);
      setBusy(false);
    }
  };
  const offers = users.slice(0, NAMED).map((offer) => offer.name).join(", ");
  return html`<form ref=${form} class="card stack" style=${{ marginBottom: "var(--gap)" }} data-testid="family-removal" onSubmit=${submit}>
    <h2>${t("removeNamed", { name })}</h2>
    <p class="note warn">${t(`removeText.${kind}`)} ${users.length > 0 && t("groupUsed", { n: users.length, offers: users.length > NAMED ? `${offers}, …` : offers })}</p>
    ${mayChange() && html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>`}
    ${error && html`<${Failure} error=${error} />`}
    ${note}
    <div class="row">${mayChange() && html`<button class="danger" disabled=${busy || note !== null}>${t("remove")}</button>`}<button type="button" onClick=${onDone}>${t("cancel")}</button></div>
    <${AddTo} isRemoval kind=${kind} thing=${id} onDone=${onDone} />
  </form>`;
}

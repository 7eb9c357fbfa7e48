// Change sets as pages share them: their state, what they change, and the way of an edit into one.
import { html, useLoad, useState } from "./ui.js";
import { get, idPart, patch, post, put } from "./api.js";
import { number, share } from "./format.js";
import { known, t } from "./i18n.js";
import { Badge, Bar, Card, Failure, Field, Funnel, Input, Loaded, Select, Table, tell } from "./widgets.js";

const KINDS = { draft: "", submitted: "warn", approved: "accent", applied: "good", rolled_back: "warn", rejected: "bad", withdrawn: "" };
export const STATES = Object.keys(KINDS);

export const StateOf = ({ of }) => html`<${Badge} kind=${KINDS[of]}>${t(`state.${of}`)}<//>`;

/** The address of an item of a change set; a treatment's id has a slash of its own. */
export const itemPath = (id, kind, thing) => `/v1/changesets/${id}/items/${kind}/${thing.split("/").map(idPart).join("/")}`;

/** Throws what the service would answer, if a thing that is to be new is there already, or in the draft. */
async function refuseTaken(address, draft, kind, thing) {
  const found = await get(address).catch((problem) => {
    if (problem.status !== 404 && problem.status !== 422) throw problem;
  });
  const items = draft ? (await get(`/v1/changesets/${draft}`)).items : [];
  if (found || items.some((item) => item.kind === kind && item.id === thing)) throw { status: 412, message: t("idTaken"), errors: [] };
}

/**
 * Puts an edit (a merge patch of a thing; with `whole`, the address it will have, the body of a new one; or `isRemoval`) into a draft of one's own, or into a new one.
 * `onError`: shows a refusal, at its field.
 */
export function AddTo({ kind, thing, body, disabled, whole, isRemoval, onDone, onError }) {
  const drafts = useLoad(() => get("/v1/changesets?state=draft&mine=true&limit=200"));
  return html`<${Loaded} of=${drafts}>
    ${({ changesets }) => html`<${Adding} ...${{ kind, thing, body, disabled, whole, isRemoval, onDone, onError }} reload=${drafts.reload} drafts=${changesets.filter((c) => c.possible.includes("put_item"))} />`}
  <//>`;
}

function Adding({ kind, thing, body, disabled, whole, isRemoval, onDone, onError, drafts, reload }) {
  const [chosen, setChosen] = useState(String(drafts[0]?.changeset_id ?? ""));
  const [title, setTitle] = useState("");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const isReady = !busy && !disabled && (chosen || title.trim());
  const add = async () => {
    setBusy(true);
    try {
      if (whole) await refuseTaken(whole, chosen, kind, thing);
      const id = chosen || (await post("/v1/changesets", { title })).changeset_id;
      // At once, so that a mistake in the edit does not make another draft at the next try.
      setChosen(String(id));
      const made = await (whole || isRemoval ? put(itemPath(id, kind, thing), isRemoval ? { removal: true } : { body }) : patch(itemPath(id, kind, thing), body));
      tell(t("addedToChangeset", { title: made.title }));
      setTitle("");
      setError(null);
      onDone();
    } catch (problem) {
      setError(problem);
      onError?.(problem);
    }
    reload();
    setBusy(false);
  };
  // It may stand in the form of an editor, which Enter would send off: that is not what was meant.
  const enter = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (isReady) add();
  };
  return html`<div class="stack">
    <${Field} label=${t("changesetWhich")}>
      ${(a) => html`<${Select} ...${a} value=${chosen} onValue=${setChosen} options=${[["", t("changesetNew")], ...drafts.map((c) => [String(c.changeset_id), `${c.changeset_id} · ${c.title}`])]} />`}
    <//>
    ${!chosen && html`<${Field} label=${t("changesetTitle")}>${(a) => html`<${Input} ...${a} value=${title} onValue=${setTitle} onKeyDown=${enter} maxlength="200" />`}<//>`}
    ${error && !onError && html`<${Failure} error=${error} />`}
    <div><button type="button" disabled=${!isReady} onClick=${add}>${t("addToChangeset")}</button></div>
  </div>`;
}

export const Summary = ({ of }) =>
  html`<p>${t("summary", { added: of.added.length, changed: of.changed.length, deleted: of.deleted.length })}</p>
    ${of.changed.filter((c) => c.lost.length > 0).map((c) => html`<div class="note bad">${t("loses", { path: c.path, lost: c.lost.join(", ") })}</div>`)}`;

export const Warnings = ({ of }) =>
  of.map((w) => html`<div class="note warn"><code>${w.field}</code> ${w.message} ${w.way_out}</div>`);

/** What a sample of customers would get, before and after. */
export function Simulation({ of }) {
  const steps = (run) => Object.entries(run.funnel).map(([stage, left]) => [known(`stage.${stage}`, stage), left]);
  const moved = [...of.offers].filter((o) => o.difference !== 0).sort((a, b) => Math.abs(b.difference) - Math.abs(a.difference)).slice(0, 12);
  const most = Math.max(1, ...moved.flatMap((o) => [o.live, o.changed]));
  const columns = [
    { label: t("offer"), cell: (o) => o.offer_id },
    { label: t("now"), cell: (o) => html`<div><${Bar} of=${o.live / most} label=${String(o.live)} /><span class="small">${number(o.live)}</span></div>` },
    { label: t("then"), cell: (o) => html`<div><${Bar} of=${o.changed / most} kind="warn" label=${String(o.changed)} /><span class="small">${number(o.changed)}</span></div>` },
  ];
  return html`<${Card} title=${t("simulation")}>
    <p>${t("simulated", { customers: number(of.customers), changed: number(of.customers_with_another_answer) })}</p>
    <div class="grid"><div><h3>${t("now")}</h3><${Funnel} steps=${steps(of.live)} /></div><div><h3>${t("then")}</h3><${Funnel} steps=${steps(of.changed)} /></div></div>
    <p class=${of.changed.without_offer_share > of.live.without_offer_share ? "down" : ""}>${t("nobodyServed", { now: share(of.live.without_offer_share), then: share(of.changed.without_offer_share) })}</p>
    <p>${t("expectedValue", { now: number(of.live.expected_value, 1), then: number(of.changed.expected_value, 1) })}</p>
    <${Table} label=${t("simulation")} columns=${columns} rows=${moved.map((o) => ({ ...o, key: o.offer_id }))} />
  <//>`;
}

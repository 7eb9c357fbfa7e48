// A change set: what it changes, what stands against it, what it would do to customers, and what may be done with it.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, post, remove, withQuery } from "../lib/api.js";
import { itemPath, Simulation, StateOf, Summary, Warnings } from "../lib/changesets.js";
import { time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { may } from "../lib/roles.js";
import { go } from "../lib/router.js";
import { Badge, Card, Confirm, Failure, Field, Input, Loaded, Page, Select, tell } from "../lib/widgets.js";
import { Differences } from "./audit.js";

const SAMPLE = 1000;
const SHOWN = 200;
/** What is done with one as a whole, in the order of the buttons, and its address where that is another word. */
const ACTIONS = ["submit", "approve", "apply", "reject", "rebase", "withdraw", "roll_back"];
const ADDRESS = { roll_back: "rollback" };
const FINE = ["submit", "approve", "apply"];
/** What needs a reason; the note of all others may be left out. */
const REASONED = ["reject", "roll_back"];

const load = async (id) => {
  const [set, diff, placements] = await Promise.all([get(`/v1/changesets/${id}`), get(`/v1/changesets/${id}/diff`), get("/v1/placements")]);
  // What is shown is what is approved: somebody edited it between the two.
  return diff.revision === set.revision ? { set, diff, placements } : load(id);
};

export default function Changeset({ id }) {
  const loaded = useLoad(() => load(id), [id]);
  return html`<${Loaded} of=${loaded}>${(found) => html`<${View} key=${found.set.revision} ...${found} reload=${loaded.reload} />`}<//>`;
}

function View({ set, diff, placements, reload }) {
  const [asked, setAsked] = useState(null);
  const [most, setMost] = useState(SHOWN);
  const isWhole = diff.differences.length <= most;
  const possible = ACTIONS.filter((action) => set.possible.includes(action) && (action !== "rebase" || diff.overlaps.length > 0));
  return html`<${Page} title=${set.title} end=${html`<${StateOf} of=${set.state} />`}>
    <p class="muted">${set.changeset_id} · ${t("writtenBy", { who: set.author, at: time(set.created_at) })}
      ${set.approved_by && html` · ${t("approvedBy", { who: set.approved_by })}`}
      ${set.inverse_of && html` · <a href=${`/console/changes/${set.inverse_of}`}>${t("inverseOf", { n: set.inverse_of })}</a>`}</p>
    ${set.note && html`<p>${set.note}</p>`}
    ${possible.length > 0 && html`<p class="row">${possible.map((action) => html`<button class=${FINE.includes(action) ? "primary" : action === "rebase" ? "" : "danger"} disabled=${action === "approve" && !isWhole} onClick=${() => setAsked(action)}>${t(`action.${action}`)} …</button>`)}</p>`}
    ${set.state === "applied" && may("ops") && !set.possible.includes("roll_back") && html`<${Inverse} set=${set} />`}
    <div class="two">
      <div>
        <${Card} title=${t("difference")}>
          ${diff.differences.length === 0 && html`<p class="empty">${t("nothingChanged")}</p>`}
          <${Summary} of=${diff.summary} />
          <${Differences} of=${diff.differences} most=${most} whole />
          ${!isWhole && html`<p class="row"><button onClick=${() => setMost(Infinity)}>${t("showAll", { n: diff.differences.length })}</button>${set.possible.includes("approve") && html`<span class="muted">${t("approveWhole")}</span>`}</p>`}
          ${diff.overlaps.map((one) => html`<div class="note warn"><strong>${t("overlap", { path: one.path })}</strong><${Differences} of=${one.theirs} most=${Infinity} whole /></div>`)}
        <//>
        <${Items} set=${set} reload=${reload} />
      </div>
      <div>
        ${may("ops") && ["draft", "submitted", "approved"].includes(set.state) && html`<${Check} set=${set} placements=${placements} />`}
        <${Trail} of=${set.trail} />
      </div>
    </div>
    ${asked && html`<${Ask} key=${asked} action=${asked} set=${set} reload=${reload} onClose=${() => setAsked(null)} />`}
  <//>`;
}

/** Asks before something is done, with the revision that is shown: what others did meanwhile is never approved unseen. */
function Ask({ action, set, reload, onClose }) {
  const [keep, setKeep] = useState("");
  const [force, setForce] = useState(false);
  const [note, setNote] = useState("");
  const done = async (reason) => {
    const body = { rebase: keep ? { keep } : {}, reject: { reason }, roll_back: { reason, force } }[action] ?? { note };
    const made = await post(`/v1/changesets/${set.changeset_id}/${ADDRESS[action] ?? action}`, body, { "If-Match": `"${set.revision}"` });
    const now = made.changeset ?? made;
    tell(t("changesetDone", { n: now.changeset_id, state: t(`state.${now.state}`) }));
    if (made.catalog_version) tell(t("nowVersion", { version: made.catalog_version }));
    reload();
  };
  const text = html`<p>${t(`changesetAsk.${action}`)}</p>
    ${action !== "rebase" && !REASONED.includes(action) && html`<${Field} label=${t("note")}>${(a) => html`<${Input} ...${a} value=${note} onValue=${setNote} maxlength="500" />`}<//>`}
    ${action === "rebase" && html`<${Field} label=${t("keepWhose")}>${(a) => html`<${Select} ...${a} value=${keep} onValue=${setKeep} options=${["", "mine", "theirs"].map((k) => [k, t(`keep.${k}`)])} />`}<//>`}
    ${action === "roll_back" && html`<p><label><input type="checkbox" checked=${force} onChange=${(e) => setForce(e.currentTarget.checked)} /> ${t("changesetForce")}</label></p>`}`;
  return html`<${Confirm} title=${t(`action.${action}`)} text=${text} withReason=${REASONED.includes(action)} danger=${!FINE.includes(action)} onDone=${done} onClose=${onClose} />`;
}

/** Where taking back takes the approval of another person, a change set does it. */
function Inverse({ set }) {
  const make = async () => {
    try {
      const made = await post("/v1/changesets", { title: t("inverseTitle", { title: set.title }).slice(0, 200), inverse_of: set.changeset_id });
      go(`/console/changes/${made.changeset_id}`);
    } catch (error) {
      tell(error.message, "bad");
    }
  };
  return html`<p><button onClick=${make}>${t("changesetInverse")}</button></p>`;
}

function Items({ set, reload }) {
  const drop = async (item) => {
    try {
      await remove(itemPath(set.changeset_id, item.kind, item.id), { "If-Match": `"${set.revision}"` });
      reload();
    } catch (error) {
      tell(error.message, "bad");
    }
  };
  const editable = set.possible.includes("drop_item");
  return html`<${Card} title=${t("items")}>
    ${set.items.length === 0 && html`<p class="empty">${t("noItems")}</p>`}
    <ul class="plain">
      ${set.items.map((item) => html`<li><div class="row"><strong>${known(`kind.${item.kind}`, item.kind)} ${item.id}</strong>
        ${item.removal && html`<${Badge} kind="bad">${t("itemRemoved")}<//>`}
        ${editable && html`<button class="small" onClick=${() => drop(item)}>${t("takeOut", { item: item.id })}</button>`}</div></li>`)}
    </ul>
  <//>`;
}

/** The check of the whole, and what a sample of customers would get. */
function Check({ set, placements }) {
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const check = async () => {
    setBusy(true);
    setError(null);
    try {
      setFound(await post(withQuery(`/v1/changesets/${set.changeset_id}/check`, { placement, sample: SAMPLE })));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return html`<${Card} title=${t("check")}>
      <div class="row">
        <${Select} class="short" aria-label=${t("placement")} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />
        <button disabled=${busy || set.items.length === 0} onClick=${check}>${t("lookAtIt")}</button>
      </div>
      <div role="status">${found?.ok && html`<p class="note good">${t("checkFine")}</p>`}</div>
      ${error && html`<${Failure} error=${error} />`}
      ${found?.errors.map((e) => html`<div class="note bad"><code>${e.field}</code> ${e.reason}</div>`)}
      ${found && html`<${Warnings} of=${found.warnings} />`}
    <//>
    ${found?.simulation && html`<${Simulation} of=${found.simulation} />`}`;
}

const Trail = ({ of }) => html`<${Card} title=${t("trail")}>
  <ol class="timeline">
    ${of.map((step) => html`<li key=${step.revision}>
      <div class="row"><strong>${t(`action.${step.action}`)}</strong>${step.id && html`<span>${step.id}</span>`}<span class="muted small">${t("writtenBy", { who: step.author, at: time(step.done_at) })}</span></div>
      ${step.note && html`<div>${step.note}</div>`}
    </li>`)}
  </ol>
<//>`;

// Change sets: those that there are, a new one, and a file whose changes are looked at, proposed, or applied at once.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, post, withQuery } from "../lib/api.js";
import { Simulation, StateOf, STATES, Summary, Warnings } from "../lib/changesets.js";
import { time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { may, mayChange } from "../lib/roles.js";
import { go } from "../lib/router.js";
import { Card, Confirm, Failure, Field, Input, Loaded, Page, Select, Table, tell } from "../lib/widgets.js";
import { Differences } from "./audit.js";

const KEPT = "nextbest.draft";
const YAML = { "Content-Type": "application/yaml" };
const SAMPLE = 1000;
const SHOWN = 50;

export default function Changes() {
  const placements = useLoad(() => get("/v1/placements"));
  return html`<${Page} title=${t("page.changes")}>
    <${List} />
    ${may("ops") && html`<${Loaded} of=${placements}>${(found) => html`<${Draft} placements=${found} />`}<//>`}
  <//>`;
}

function List() {
  const [state, setState] = useState("");
  const [before, setBefore] = useState([]);
  const loaded = useLoad(() => get(withQuery("/v1/changesets", { state, before: before.at(-1), limit: SHOWN })), [state, before]);
  const columns = [
    { label: t("title"), cell: (c) => html`<div><a href=${`/console/changes/${c.changeset_id}`}>${c.title}</a><div class="muted small">${c.changeset_id} · ${t("writtenBy", { who: c.author, at: time(c.created_at) })}</div></div>` },
    { label: t("state"), cell: (c) => html`<${StateOf} of=${c.state} />` },
    { label: t("items"), number: true, cell: (c) => c.items.length },
  ];
  return html`<${Card} title=${t("changesets")}>
    <div class="fields">
      <${Field} label=${t("state")}>
        ${(a) => html`<${Select} ...${a} value=${state} onValue=${(s) => { setState(s); setBefore([]); }} options=${[["", t("all")], ...STATES.map((s) => [s, t(`state.${s}`)])]} />`}
      <//>
      ${may("ops") && html`<${New} />`}
    </div>
    <${Loaded} of=${loaded}>
      ${(found) => html`${found.approvals === "required" && html`<p class="muted">${t("approvalsRequired")}</p>`}
        <${Table} label=${t("changesets")} columns=${columns} rows=${found.changesets.map((c) => ({ ...c, key: c.changeset_id }))} />
        <div class="row">
          ${before.length > 0 && html`<button onClick=${() => setBefore(before.slice(0, -1))}>${t("newer")}</button>`}
          ${found.next && html`<button onClick=${() => setBefore([...before, found.next])}>${t("older")}</button>`}
        </div>`}
    <//>
  <//>`;
}

function New() {
  const [title, setTitle] = useState("");
  const make = async (event) => {
    event.preventDefault();
    try {
      go(`/console/changes/${(await post("/v1/changesets", { title })).changeset_id}`);
    } catch (error) {
      tell(error.message, "bad");
    }
  };
  return html`<form onSubmit=${make}>
    <${Field} label=${t("changesetNew")}>
      ${(a) => html`<div class="row"><input ...${a} value=${title} onInput=${(e) => setTitle(e.currentTarget.value)} maxlength="200" required placeholder=${t("title")} style=${{ width: "14rem" }} /><button>${t("changesetNew")}</button></div>`}
    <//>
  </form>`;
}

function Draft({ placements }) {
  const [text, setText] = useState(localStorage.getItem(KEPT) ?? "nextbest: 1\n");
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [title, setTitle] = useState("");
  const [found, setFound] = useState(null);
  const [simulated, setSimulated] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [asked, setAsked] = useState(false);
  const write = (changed) => {
    setText(changed);
    setFound(null);
    setSimulated(null);
    localStorage.setItem(KEPT, changed);
  };
  const attempt = async (work) => {
    setBusy(true);
    setError(null);
    try {
      await work();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const look = () => attempt(async () => {
    setFound(await post("/v1/catalog/diff", text, YAML));
    if (placement) setSimulated(await post(withQuery("/v1/catalog/simulate", { placement, sample: SAMPLE }), text, YAML));
  });
  const propose = () => attempt(async () => {
    const made = await post(withQuery("/v1/catalog/changeset", { title }), text, YAML);
    write("nextbest: 1\n");
    go(`/console/changes/${made.changeset_id}`);
  });
  const apply = async (reason) => {
    // What was looked at is what is applied: refused if somebody changed the catalogue meanwhile.
    const answer = await post("/v1/catalog/apply", text, { ...YAML, "If-Match": `"${found.catalog_version}"`, "X-Reason": reason.normalize("NFD").replace(/[^\x20-\x7e]/g, "") });
    tell(t("nowVersion", { version: answer.catalog_version }));
    write("nextbest: 1\n");
  };
  const isEmpty = !found || found.differences.length === 0;
  return html`<div class="two" style=${{ marginTop: "var(--gap)" }}>
    <${Card} title=${t("fromFile")}>
      <p class="muted small">${t("draftHint")}</p>
      <${Field} label=${t("draftText")}>
        ${(a) => html`<textarea ...${a} class="code" rows="16" spellcheck="false" value=${text} onInput=${(e) => write(e.currentTarget.value)}></textarea>`}
      <//>
      <div class="row">
        <${Select} class="short" aria-label=${t("placement")} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />
        <button class="primary" disabled=${busy} onClick=${look}>${t("lookAtIt")}</button>
        ${mayChange() && html`<button disabled=${isEmpty} onClick=${() => setAsked(true)}>${t("apply")}</button>`}
      </div>
      <${Field} label=${t("changesetTitle")}>
        ${(a) => html`<div class="row"><input ...${a} value=${title} onInput=${(e) => setTitle(e.currentTarget.value)} maxlength="200" style=${{ width: "14rem" }} /><button disabled=${busy || isEmpty || !title.trim()} onClick=${propose}>${t("makeChangeset")}</button></div>`}
      <//>
      ${error && html`<${Failure} error=${error} />`}
    <//>
    <div>
      ${found && html`<${Card} title=${t("difference")}>
        ${found.differences.length === 0 && html`<p class="empty">${t("nothingChanged")}</p>`}
        <${Summary} of=${found.summary} />
        <${Differences} of=${found.differences} most=${30} />
        <${Warnings} of=${found.warnings} />
      <//>`}
      ${simulated && html`<${Simulation} of=${simulated} />`}
    </div>
    ${asked && found && html`<${Confirm} title=${t("apply")} text=${t("applyText", { n: found.differences.length })} withReason onDone=${apply} onClose=${() => setAsked(false)} />`}
  </div>`;
}

// The audit trail: who changed what, when and why; and the way back.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, post, withQuery } from "../lib/api.js";
import { time, value } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { mayChange } from "../lib/roles.js";
import { Card, Confirm, Field, Input, Loaded, Page, Select, tell } from "../lib/widgets.js";

const KINDS = ["offer", "treatment", "group", "goal", "placement", "deployment", "attribute", "segment", "contact_policy", "quiet_hours", "capacity", "override", "context_weight", "signal", "alert", "trigger"];
const SHOWN = 50;

export default function Audit() {
  const [kind, setKind] = useState("");
  const [id, setId] = useState("");
  const [before, setBefore] = useState([]);
  const [asked, setAsked] = useState(null);
  const start = before.at(-1);
  const [whole, setWhole] = useState(null);
  const of = { kind, id: kind ? id : "" };
  // A version may have changed thousands of things: all of one is shown when it is asked for.
  const loaded = useLoad(
    () => get(withQuery("/v1/catalog", whole ? { ...of, before: whole + 1, limit: 1 } : { ...of, before: start, limit: SHOWN, whole: false })),
    [kind, id, start, whole],
  );
  const choose = (set) => (wanted) => {
    set(wanted);
    setBefore([]);
    setWhole(null);
  };
  const rollBack = async (reason) => {
    const answer = await post("/v1/catalog/rollback", { version: asked, reason });
    tell(t("nowVersion", { version: answer.catalog_version }));
    setBefore([]);
    loaded.reload();
  };
  return html`<${Page} title=${t("page.audit")}>
    <${Card}>
      <div class="fields">
        <${Field} label=${t("kind")}>${(a) => html`<${Select} ...${a} value=${kind} onValue=${choose(setKind)} options=${[["", t("all")], ...KINDS.map((k) => [k, t(`kind.${k}`)])]} />`}<//>
        ${kind && html`<${Field} label="Id">${(a) => html`<${Input} ...${a} value=${id} onValue=${choose(setId)} />`}<//>`}
      </div>
    <//>
    <${Loaded} of=${loaded}>
      ${(rows) => html`<${Card}>
        <ol class="timeline">
          ${rows.map(
            (row) => html`<li key=${`${row.version} ${row.kind} ${row.id}`}>
              <div class="row"><strong>${known(`kind.${row.kind}`, row.kind)} ${row.id}</strong><span class="muted small">${t("versionBy", { version: row.version, who: row.author, at: time(row.changed_at) })}</span>
                ${mayChange() && html`<button class="small" onClick=${() => setAsked(row.version)}>${t("backTo", { version: row.version })}</button>`}</div>
              ${row.reason && html`<div>${row.reason}</div>`}
              <${Differences} of=${row.differences} />
            </li>`,
          )}
        </ol>
        <div class="row">
          ${whole
            ? html`<button onClick=${() => setWhole(null)}>${t("allVersions")}</button>`
            : html`${before.length > 0 && html`<button onClick=${() => setBefore(before.slice(0, -1))}>${t("newer")}</button>`}
                ${rows.length >= SHOWN &&
                html`<button onClick=${() => setWhole(rows.at(-1).version)}>${t("wholeVersion", { version: rows.at(-1).version })}</button>
                  <button onClick=${() => setBefore([...before, rows.at(-1).version])}>${t("older")}</button>`}`}
        </div>
      <//>`}
    <//>
    ${asked && html`<${Confirm} title=${t("backTo", { version: asked })} text=${t("backToText", { version: asked })} withReason danger onDone=${rollBack} onClose=${() => setAsked(null)} />`}
  <//>`;
}

/** What changed, before and after; of many, the first, and of long values the beginning, unless they are told whole. */
export function Differences({ of, most = 6, whole = false }) {
  const told = whole ? value : short;
  return html`<ul class="plain small">
    ${of.slice(0, most).map((d) => html`<li><code>${d.path}</code> <span class="down">${told(d.before)}</span> → <span class="up">${told(d.after)}</span></li>`)}
    ${of.length > most && html`<li class="muted">${t("andMore", { n: of.length - most })}</li>`}
  </ul>`;
}

function short(given) {
  const text = value(given);
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}

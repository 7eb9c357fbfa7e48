// Offers: found, started and stopped, and pushed or held back, in the line of each.
import { html, useLoad, useMemo, useState } from "../lib/ui.js";
import { get, part, post } from "../lib/api.js";
import { number, share } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { patchField } from "../lib/meanwhile.js";
import { may, mayChange } from "../lib/roles.js";
import { Bar, Confirm, Failure, Field, Input, Loaded, Page, Select, Status, Table, tell } from "../lib/widgets.js";

const SHOWN = 50;
const STATUSES = ["draft", "scheduled", "live", "paused", "ended"];
/** What a status can become: the server refuses the rest. */
export const NEXT = {
  draft: ["live", "scheduled", "ended"],
  scheduled: ["live", "paused", "draft", "ended"],
  live: ["paused", "scheduled", "ended"],
  paused: ["live", "scheduled", "ended"],
  ended: [],
};

export default function Offers() {
  const loaded = useLoad(() => get("/v1/offers?brief=true"));
  // The list does not wait for what is counted.
  const counted = useLoad(async () => new Map((await get("/v1/reports/offers?by=offer")).rows.map((row) => [row.offer, row])));
  return html`<${Page} title=${t("page.offers")} end=${may("ops") && html`<a class="button primary" href="/console/new-offer">${t("newOffer")}</a>`}>
    ${counted.error && html`<${Failure} error=${counted.error} again=${counted.reload} />`}
    <${Loaded} of=${loaded}>${(offers) => html`<${List} ...${{ offers, reload: loaded.reload }} report=${counted.data} />`}<//>
  <//>`;
}

function List({ offers, report, reload }) {
  const [words, setWords] = useState("");
  const [status, setStatus] = useState("");
  const [group, setGroup] = useState("");
  const [more, setMore] = useState(SHOWN);
  const groups = useMemo(() => [...new Set(offers.map((o) => o.group))].sort(), [offers]);
  const found = useMemo(() => {
    const wanted = words.toLowerCase();
    return offers.filter(
      (o) =>
        (!status || o.effective_status === status) &&
        (!group || o.group === group) &&
        (!wanted || `${o.offer_id} ${o.name}`.toLowerCase().includes(wanted)),
    );
  }, [offers, words, status, group]);
  const columns = [
    { label: t("offer"), cell: (o) => html`<div><a href=${`/console/offers/${part(o.offer_id)}`}>${o.name}</a><div class="muted small">${o.offer_id} · ${o.group}</div></div>` },
    { label: t("status"), cell: (o) => html`<${StatusOf} offer=${o} reload=${reload} />` },
    { label: t("lever"), cell: (o) => html`<${Lever} offer=${o} />` },
    { label: t("value"), number: true, cell: (o) => number(o.value, 2) },
    { label: t("funnel"), cell: (o) => html`<${Flow} loading=${!report} row=${report?.get(o.offer_id)} />` },
    { label: t("acceptance"), number: true, cell: (o) => share(report?.get(o.offer_id)?.rate) },
  ];
  return html`<div class="card">
    <div class="fields">
      <${Field} label=${t("search")}>${(a) => html`<${Input} ...${a} type="search" value=${words} onValue=${setWords} />`}<//>
      <${Field} label=${t("status")}>
        ${(a) => html`<${Select} ...${a} value=${status} onValue=${setStatus} options=${[["", t("all")], ...STATUSES.map((s) => [s, t(`status.${s}`)])]} />`}
      <//>
      <${Field} label=${t("group")}>
        ${(a) => html`<${Select} ...${a} value=${group} onValue=${setGroup} options=${[["", t("all")], ...groups.map((g) => [g, g])]} />`}
      <//>
    </div>
    <p class="muted small" role="status">${t("foundOffers", { n: number(found.length), of: number(offers.length) })}</p>
    <${Table} label=${t("page.offers")} columns=${columns} rows=${found.slice(0, more).map((o) => ({ ...o, key: o.offer_id }))} />
    ${found.length > more && html`<button onClick=${() => setMore(more + SHOWN)}>${t("showMore")}</button>`}
  </div>`;
}

/** Decided, presented, accepted: as bars that get shorter. */
function Flow({ row, loading }) {
  if (loading) return html`<span class="muted small">…</span>`;
  if (!row || row.decided === 0) return html`<span class="muted small">${t("noAnswers")}</span>`;
  return html`<div>
    <${Bar} of=${row.accepted / row.decided} label=${t("flow", { decided: number(row.decided), accepted: number(row.accepted) })} />
    <span class="muted small">${number(row.decided)} → ${number(row.presented)} → ${number(row.accepted)}</span>
  </div>`;
}

export function StatusOf({ offer, reload }) {
  const [wanted, setWanted] = useState(null);
  const next = NEXT[offer.status] ?? [];
  if (!mayChange() || next.length === 0) return html`<${Status} of=${offer.effective_status} />`;
  const change = async (reason) => {
    await post(`/v1/offers/${part(offer.offer_id)}/status`, { status: wanted, reason });
    tell(t("nowStatus", { offer: offer.name, status: t(`status.${wanted}`) }));
    reload();
  };
  return html`<div class="row">
    <${Status} of=${offer.effective_status} />
    <${Select}
      class="short small"
      aria-label=${t("changeStatus", { offer: offer.name })}
      value=""
      onValue=${setWanted}
      options=${[["", t("change")], ...next.map((s) => [s, t(`status.${s}`)])]}
    />
    ${wanted &&
    html`<${Confirm}
      title=${t("changeStatus", { offer: offer.name })}
      text=${`${t(`status.${offer.status}`)} → ${t(`status.${wanted}`)}`}
      withReason
      danger=${wanted === "ended"}
      onDone=${change}
      onClose=${() => setWanted(null)}
    />`}
  </div>`;
}

function Lever({ offer }) {
  const [value, setValue] = useState(offer.lever);
  const [kept, setKept] = useState(offer.lever);
  if (!mayChange()) return html`<span class="number">${kept} %</span>`;
  const save = async (event) => {
    event.preventDefault();
    try {
      setKept((await patchField(`/v1/offers/${part(offer.offer_id)}`, "lever", kept, Number(value))).lever);
      tell(t("savedOffer", { offer: offer.name }));
    } catch (error) {
      // What is typed stays: whoever saves it again has read what it replaces.
      if (error.now !== undefined) setKept(error.now);
      tell(error.message, error.now === undefined ? "bad" : "warn");
    }
  };
  return html`<form class="row" onSubmit=${save}>
    <input class="short" type="number" step="any" aria-label=${t("leverOf", { offer: offer.name })} value=${value} onInput=${(e) => setValue(e.currentTarget.value)} />
    ${Number(value) !== kept && html`<button class="small">${t("save")}</button>`}
  </form>`;
}

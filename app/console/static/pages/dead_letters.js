// Records that were set aside, of the log and of the stream of events: processed again, or dropped with a reason.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part, post, withQuery } from "../lib/api.js";
import { number, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Confirm, Loaded, Page, Select, Table, tell } from "../lib/widgets.js";

const PATH = "/v1/dead-letters";
const SHOWN = 50;
const SETTLED = ["archived", "put_back", "gone"];

export default function DeadLetters() {
  const [source, setSource] = useState("");
  const [before, setBefore] = useState([]);
  const [asked, setAsked] = useState(null);
  const loaded = useLoad(() => get(withQuery(PATH, { source, cursor: before.at(-1), limit: SHOWN })), [source, before.at(-1)]);
  const show = (wanted) => {
    setSource(wanted);
    setBefore([]);
  };
  const again = () => {
    setBefore([]);
    loaded.reload();
  };
  const retry = async (reason) => {
    const results = asked.letter ? await retryOne(asked.letter, reason) : await retryAll(source, asked.total, reason);
    const refused = results.filter((one) => !SETTLED.includes(one.status));
    tell(t("letters.retried", { settled: results.length - refused.length, refused: refused.length }) + (refused.length ? ` ${refused[0].reason}` : ""));
    again();
  };
  const drop = async (reason) => {
    const { dropped } = await post(`${PATH}/drop`, { ids: [asked.letter.id], reason });
    tell(t(dropped.length ? "letters.dropped" : "letters.gone"));
    again();
  };
  const name = asked?.letter?.id ?? "";
  return html`<${Page} title=${t("page.deadLetters")} end=${html`<button onClick=${loaded.reload}>${t("refresh")}</button>`}>
    <${Card}>
      <p class="muted small">${t("letters.hint")}</p>
      <div class="row">
        <${Select} aria-label=${t("letters.source")} value=${source} onValue=${show} options=${["", "log", "events"].map((one) => [one, t(one ? `letters.${one}` : "all")])} />
      </div>
      <${Loaded} of=${loaded}>
        ${(page) => html`
          <p data-testid="total">${t("letters.total", { n: number(page.total) })}</p>
          <${Table} label=${t("page.deadLetters")} columns=${columns(setAsked)} rows=${page.dead_letters.map((one) => ({ ...one, key: one.id }))} />
          <div class="row">
            ${before.length > 0 && html`<button onClick=${() => setBefore(before.slice(0, -1))}>${t("newer")}</button>`}
            ${page.next && html`<button onClick=${() => setBefore([...before, page.next])}>${t("older")}</button>`}
            ${page.dead_letters.length > 0 && html`<button onClick=${() => setAsked({ way: "retry", total: page.total })}>${t("letters.retryAll")}</button>`}
          </div>
        `}
      <//>
    <//>
    ${asked?.way === "retry" && html`<${Confirm} title=${name ? t("letters.retryOne", { id: name }) : t("letters.retryAll")} text=${t("letters.retryText")} withReason doing=${t("letters.retrying")} onDone=${retry} onClose=${() => setAsked(null)} />`}
    ${asked?.way === "drop" && html`<${Confirm} title=${t("letters.dropOne", { id: name })} text=${t("letters.dropText")} withReason danger action=${t("letters.drop")} onDone=${drop} onClose=${() => setAsked(null)} />`}
  <//>`;
}

const retryOne = async (letter, reason) => (await post(`${PATH}/retry`, { ids: [letter.id], reason })).results;

/** Tries all again, one request after the other, not more than there were: what comes back meanwhile would go in a circle. */
async function retryAll(source, total, reason) {
  const results = [];
  let cursor = null;
  do {
    const answer = await post(`${PATH}/retry`, { reason, ...(source ? { source } : {}), ...(cursor ? { cursor } : {}) });
    results.push(...answer.results);
    cursor = answer.results.some((one) => one.status === "busy") ? null : answer.next;
  } while (cursor && results.length < total);
  return results;
}

const columns = (ask) => [
  { label: t("letters.at"), cell: (one) => time(one.set_aside_at) },
  { label: t("letters.source"), cell: (one) => html`${t(`letters.${one.source}`)}<div class="muted small">${one.id}</div>` },
  { label: t("why"), cell: (one) => html`<span style=${{ overflowWrap: "anywhere" }}>${one.reason}</span>` },
  { label: t("letters.record"), cell: (one) => html`${one.kind ?? "–"} ${one.record_id && html`<code>${one.record_id}</code>`}<div class="muted small">${one.parts.map((p) => `${p.name} ${number(p.bytes)}`).join(", ")}</div>` },
  { label: t("customer"), cell: (one) => (one.customer_id ? html`<a href=${`/console/customers/${part(one.customer_id)}`}>${one.customer_id}</a>` : "–") },
  { label: t("letters.bytes"), number: true, cell: (one) => number(one.bytes) },
  {
    label: t("letters.actions"),
    cell: (one) => html`<div class="row">
      <button class="small" onClick=${() => ask({ way: "retry", letter: one })}>${t("letters.retry")}</button>
      <button class="small danger" onClick=${() => ask({ way: "drop", letter: one })}>${t("letters.drop")}</button>
    </div>`,
  },
];

// Publishable keys: what they open, and new keys and secrets that are taken beside the old ones until a date.
import { html, useLoad, useRef, useState } from "../lib/ui.js";
import { get, part, post } from "../lib/api.js";
import { dayFromToday, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Confirm, Field, Loaded, Page, Table } from "../lib/widgets.js";

const DAYS = 30;
const WAYS = {
  rotate: { title: "rotateKeyTitle", made: "newKey", action: "rotateKey", of: (answer) => answer.key },
  "rotate-tokens": { title: "rotateTokensTitle", made: "newSecret", action: "rotateTokens", of: (answer) => answer.secret },
};

export default function Keys() {
  const loaded = useLoad(() => get("/v1/publishable-keys"));
  const [asking, setAsking] = useState(null);
  const [made, setMade] = useState(null);
  const until = useRef(null);
  const rotate = async () => {
    const { key, way } = asking;
    const ends = new Date(until.current.value).toISOString();
    const answer = await post(`/v1/publishable-keys/${part(key.key_id)}/${way}`, { until: ends });
    setMade({ title: t(WAYS[way].made, { name: key.name }), text: WAYS[way].of(answer) });
    loaded.reload();
  };
  const button = (key, way) => html`<button class="small" onClick=${() => setAsking({ key, way })}>${t(WAYS[way].action)}</button>`;
  const columns = [
    { label: t("field.name"), cell: (k) => html`${k.name} <span class="muted small">${k.key_id}</span>` },
    { label: t("opens"), cell: (k) => k.placements.join(", ") },
    { label: t("origins"), cell: (k) => [...k.origins, ...(k.apps ? [t("apps")] : [])].join(", ") },
    { label: t("customerTokens"), cell: (k) => html`${k.tokens?.algorithm ?? t("none")}${k.tokens?.earlier_end_at.map((at) => html`<div class="muted small">${t("earlierEnds", { at: time(at) })}</div>`)}` },
    { label: t("usedLast"), cell: (k) => (k.last_used_at ? time(k.last_used_at) : t("never")) },
    {
      label: "",
      cell: (k) =>
        k.ends_at
          ? html`<span class="muted">${t("ends", { at: time(k.ends_at) })}</span>`
          : html`<div class="row">${button(k, "rotate")}${k.tokens?.algorithm === "HS256" && button(k, "rotate-tokens")}</div>`,
    },
  ];
  return html`<${Page} title=${t("page.keys")}>
    ${made && html`<div class="note good" role="status" data-testid="made"><strong>${made.title}</strong> <code style=${{ overflowWrap: "anywhere" }}>${made.text}</code> ${t("onlyNow")}</div>`}
    <${Card} title=${t("publishableKeys")}>
      <p class="muted small">${t("keysHint")}</p>
      <${Loaded} of=${loaded}>
        ${({ keys }) => html`<${Table} label=${t("publishableKeys")} columns=${columns} rows=${keys.map((k) => ({ ...k, key: k.key_id }))} />`}
      <//>
    <//>
    ${asking &&
    html`<${Confirm}
      title=${t(WAYS[asking.way].title, { name: asking.key.name })}
      text=${html`<p>${t("rotateText")}</p>
        <${Field} label=${t("oldEnds")}>${(a) => html`<input ...${a} ref=${until} type="datetime-local" defaultValue=${`${dayFromToday(DAYS)}T00:00`} required />`}<//>`}
      onDone=${rotate}
      onClose=${() => setAsking(null)}
    />`}
  <//>`;
}

// All registered policies, and where they stand.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Badge, Bar, Card, Loaded, Page, Status, Table } from "../lib/widgets.js";

export default function Policies() {
  const loaded = useLoad(() => get("/v1/policies"));
  const columns = [
    { label: t("policy"), cell: (p) => html`<a href=${`/console/policies/${part(p.name)}/${p.version}`}>${p.policy}</a>` },
    { label: t("algorithm"), cell: (p) => p.spec.algorithm },
    { label: t("state"), cell: (p) => html`<div><${Status} of=${p.state} />${p.state === "folding" && html`<${Bar} of=${p.total ? p.folded / p.total : 0} />`}</div>` },
    { label: t("placed"), cell: (p) => html`<div>${p.placements.filter((x) => x.stage !== "registered").map((x) => html`<${Badge} kind="accent">${x.placement_id}: ${t(`stage.${x.stage}`)}<//> `)}</div>` },
    { label: t("author"), cell: (p) => html`<div>${p.author}<div class="muted small">${p.built_in ? t("builtIn") : time(p.created_at)}</div></div>` },
  ];
  return html`<${Page} title=${t("page.policies")}><${Card}>
    <${Loaded} of=${loaded}>${(rows) => html`<${Table} label=${t("page.policies")} columns=${columns} rows=${rows.map((p) => ({ ...p, key: p.policy }))} />`}<//>
  <//><//>`;
}

// All placements, with who decides in each.
import { html, useLoad } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { duration, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Loaded, Page, Table } from "../lib/widgets.js";

export default function Placements() {
  const loaded = useLoad(() => get("/v1/placements"));
  const columns = [
    { label: t("placement"), cell: (p) => html`<a href=${`/console/placements/${part(p.placement_id)}`}>${p.placement_id}</a>` },
    { label: t("channel"), cell: (p) => p.channel },
    { label: t("slots"), number: true, cell: (p) => number(p.slots) },
    { label: t("policy"), cell: (p) => p.policy },
    { label: t("rewardWindow"), cell: (p) => duration(p.reward_window_s) },
  ];
  return html`<${Page} title=${t("page.placements")}><${Card}>
    <${Loaded} of=${loaded}>${(rows) => html`<${Table} label=${t("page.placements")} columns=${columns} rows=${rows.map((p) => ({ ...p, key: p.placement_id }))} />`}<//>
  <//><//>`;
}

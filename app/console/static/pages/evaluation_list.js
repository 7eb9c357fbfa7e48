// Everybody's evaluations, the newest first: who asked for which, how far it is, and a link to each.
import { html, useEffect, useLoad, useState } from "../lib/ui.js";
import { get, part, withQuery } from "../lib/api.js";
import { number, time } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Loaded, Status, Table } from "../lib/widgets.js";

const SHOWN = 10;
const LOOK_MS = 3000;
const isOpen = (run) => run.state === "waiting" || run.state === "running";

/** `known`: ids that are shown on the page already; `onShow` is told of another one. */
export function LatestRuns({ known, onShow }) {
  const [before, setBefore] = useState([]);
  const start = before.at(-1);
  // Who asks for one finds it here at once, on the first page.
  const loaded = useLoad(async () => ({ ...(await get(withQuery("/v1/evaluations", { limit: SHOWN, before: start }))), start }), [start, known[0]]);
  // Where the next page begins is known when this one has come.
  const isComing = loaded.data?.start !== start;
  useEffect(() => {
    if (!loaded.data?.evaluations.some(isOpen)) return undefined;
    const timer = setTimeout(loaded.reload, LOOK_MS);
    return () => clearTimeout(timer);
  }, [loaded.data]);
  const columns = [
    { label: t("evaluationShort"), cell: (run) => html`<a href=${`/console/evaluation/${part(run.evaluation_id)}`}>${run.evaluation_id}</a>` },
    { label: t("policy"), cell: (run) => run.policy ?? t("ofSpecification", { algorithm: run.algorithm }) },
    { label: t("placement"), cell: (run) => run.placement },
    {
      label: t("state"),
      cell: (run) => html`<div><${Status} of=${run.state} />${isOpen(run) && run.total > 0 && html` <span class="muted small">${number(run.seen)} / ${number(run.total)}</span>`}${run.error && html`<div class="muted small">${run.error}</div>`}</div>`,
    },
    { label: t("askedBy"), cell: (run) => html`<div>${run.asked_by}<div class="muted small">${time(run.asked_at)}</div></div>` },
    {
      label: t("show"),
      cell: (run) => !known.includes(run.evaluation_id) && html`<button class="small" aria-label=${t("showBelowOf", { id: run.evaluation_id })} onClick=${() => onShow(run.evaluation_id)}>${t("showBelow")}</button>`,
    },
  ];
  return html`<${Card} title=${t("latestRuns")} data-testid="latest-runs">
    <${Loaded} of=${loaded}>
      ${({ evaluations, next }) => html`<${Table} label=${t("latestRuns")} columns=${columns} rows=${evaluations.map((run) => ({ ...run, key: run.evaluation_id }))} empty=${t("noRuns")} />
        <div class="row">
          ${before.length > 0 && html`<button disabled=${isComing} onClick=${() => setBefore(before.slice(0, -1))}>${t("newer")}</button>`}
          ${next && html`<button disabled=${isComing} onClick=${() => setBefore([...before, next])}>${t("older")}</button>`}
        </div>`}
    <//>
  <//>`;
}

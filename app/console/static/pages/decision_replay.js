// A decision made again from the log alone, beside what was answered: compared when somebody asks for it.
import { html, useState } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Card, Failure, Table } from "../lib/widgets.js";

export function Replay({ id }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    setError(null);
    try {
      setFound(await get(`/v1/decisions/${part(id)}/replay`));
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return html`<${Card} title=${t("replayTitle")} data-testid="replay">
    <p class="muted small">${t("replayAbout")} <code>nextbest replay ${id}</code></p>
    <p><button disabled=${busy} onClick=${run}>${t("replayNow")}</button></p>
    ${busy && html`<p role="status">${t("loading")}</p>`}
    ${error && html`<${Failure} error=${error} />`}
    ${found && html`<${Compared} of=${found} />`}
  <//>`;
}

function verdict({ identical, difference }) {
  if (identical) return t("replaySame");
  return difference === null ? t("replayOther") : t("replayNumbers", { n: difference.toExponential(1) });
}

/** All digits of a number: that is what is compared. */
const exact = (value) => (value === null ? "–" : String(value));
const Side = ({ of }) => (of ? html`<div>${of.offer_id}<div class="muted small"><code>p=${exact(of.probability)} ${exact(of.score)}</code></div></div>` : "–");

function Compared({ of }) {
  const slots = Array.from({ length: Math.max(of.logged.length, of.replayed.length) }, (_, i) => ({
    key: i,
    logged: of.logged[i],
    replayed: of.replayed[i],
  }));
  const columns = [
    { label: t("rank"), number: true, cell: (slot) => number(slot.key + 1) },
    { label: t("replayLogged"), cell: (slot) => html`<${Side} of=${slot.logged} />` },
    { label: t("replayAgain"), cell: (slot) => html`<${Side} of=${slot.replayed} />` },
  ];
  return html`<div class=${`note ${of.identical ? "good" : "bad"}`} role="status">${verdict(of)}</div>
    ${of.caveat && html`<p class="small">${of.caveat}</p>`}
    <p class="muted small">${t("replayFrom", { policy: of.policy, epoch: of.epoch, version: of.catalog_version })}</p>
    <${Table} label=${t("replayTitle")} columns=${columns} rows=${slots} />`;
}

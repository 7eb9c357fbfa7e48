// What an agent or a page would get for a customer, as the service answers it; and what unsaved changes would do to many.
import { html, useState } from "../lib/ui.js";
import { post } from "../lib/api.js";
import { Simulation } from "../lib/changesets.js";
import { known, t } from "../lib/i18n.js";
import { Badge, Card, Failure, Field, Input, mistakeIn, Select } from "../lib/widgets.js";
import { Why } from "./candidates.js";
import { Texts } from "./treatments.js";

const TYPES = ["string", "int", "number", "bool"];
/** The service knows these by itself. */
const OWN = ["context.channel", "context.placement"];
const SAMPLE = 1000;

/** What was answered about the context, in the types that are declared; what is empty is not sent. */
function contextOf(answers, names) {
  const typed = ({ type, path }) => (type === "string" ? answers[path] : type === "bool" ? answers[path] === "true" : Number(answers[path]));
  return Object.fromEntries(names.filter(({ path }) => answers[path]).map((name) => [name.path.slice("context.".length), typed(name)]));
}

export function OfferPreview({ offer, draft, isChanged, placements, vocabulary }) {
  const names = vocabulary.filter((n) => n.path.startsWith("context.") && TYPES.includes(n.type) && !OWN.includes(n.path));
  const [placement, setPlacement] = useState(placements[0]?.placement_id ?? "");
  const [customer, setCustomer] = useState("");
  const [answers, setAnswers] = useState({});
  const [found, setFound] = useState(null);
  const [simulated, setSimulated] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  if (placements.length === 0) return null;
  const mistake = (field) => mistakeIn(error, field);
  const run = async (ask, show) => {
    setBusy(true);
    setError(null);
    setFound(null);
    setSimulated(null);
    try {
      show(await ask());
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const context = contextOf(answers, names);
  const ask = (event) => {
    event.preventDefault();
    run(() => post("/v1/decisions", { customer_id: customer.trim(), placement, context, dry_run: true, explain: true }), setFound);
  };
  const simulate = () => run(() => post("/v1/simulations", { placement, context, sample: SAMPLE, changes: [{ kind: "offer", id: offer.offer_id, body: storedOf({ ...offer, ...draft }) }] }), setSimulated);
  return html`<${Card} title=${t("servicePreview")} data-testid="service-preview">
    <form class="stack" onSubmit=${ask}>
      <p class="muted small">${t("servicePreviewHint")} ${t("dryRun")}</p>
      <div class="fields">
        <${Field} label=${t("customerId")} mistake=${mistake("customer_id")}>${(a) => html`<${Input} ...${a} value=${customer} onValue=${setCustomer} required />`}<//>
        <${Field} label=${t("placement")} mistake=${mistake("placement")}>
          ${(a) => html`<${Select} ...${a} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, `${p.placement_id} · ${p.channel}`])} />`}
        <//>
        ${names.map(({ path, type, values }) => {
          const options = type === "bool" ? ["true", "false"] : values.map(String);
          const set = (value) => setAnswers({ ...answers, [path]: value });
          return html`<${Field} key=${path} label=${path} mistake=${mistake(path)}>
            ${(a) => (options.length ? html`<${Select} ...${a} value=${answers[path]} onValue=${set} options=${["", ...options].map((v) => [v, v])} />` : html`<${Input} ...${a} type=${type === "string" ? "text" : "number"} step="any" value=${answers[path]} onValue=${set} />`)}
          <//>`;
        })}
      </div>
      <div class="row">
        <button class="primary" disabled=${busy}>${t("tryOut")}</button>
        ${isChanged && html`<button type="button" disabled=${busy} onClick=${simulate}>${t("simulateChanges")}</button>`}
      </div>
      ${isChanged && html`<p class="muted small">${t("previewSaved")}</p>`}
    </form>
    ${error && html`<${Failure} error=${error} />`}
    <div role="status">${found && html`<${Answer} of=${found} offer=${offer} />`}</div>
    ${simulated && html`<${Simulation} of=${simulated} />`}
  <//>`;
}

function Answer({ of, offer }) {
  const about = of.explanation?.find((candidate) => candidate.offer_id === offer.offer_id);
  const isThere = of.offers.some((one) => one.offer_id === offer.offer_id);
  return html`<div class="stack">
    ${of.degraded.length > 0 && html`<div class="note warn">${of.degraded.map((reason) => known(`degraded.${reason}`, reason)).join(", ")}</div>`}
    ${(of.warnings ?? []).map((w) => html`<div class="note warn"><code>${w.field}</code> ${w.message}</div>`)}
    <p><strong>${t(isThere ? "offerIsThere" : "offerIsNotThere", { offer: offer.name })}</strong></p>
    ${!isThere && about && html`<${Why} of=${about} />`}
    ${of.offers.length === 0 && html`<p class="empty">${t("nothingNow")}</p>`}
    ${of.offers.map(
      (one) => html`<div class="offer" key=${one.offer_id} data-offer=${one.offer_id} aria-current=${one.offer_id === offer.offer_id ? "true" : undefined}>
        <div class="row"><${Badge} kind="accent">${one.rank}<//><span class="muted small">${one.offer_id} · ${one.treatment?.treatment_id} · ${one.treatment?.language}</span></div>
        ${one.treatment && html`<${Texts} of=${one.treatment} />`}
      </div>`,
    )}
  </div>`;
}

/** An offer in the form that simulations take: as it is kept, with times in milliseconds and without what is only shown. */
function storedOf({ offer_id, number, effective_status, treatments, inherited, warnings, starts_at, ends_at, ...rest }) {
  return { ...rest, ...(starts_at && { starts_ms: Date.parse(starts_at) }), ...(ends_at && { ends_ms: Date.parse(ends_at) }) };
}

// An offer as an agent needs it: why, what to say, what they may object, and what became of it.
import { html, useEffect, useRef } from "../lib/ui.js";
import { share, signed } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { Badge } from "../lib/widgets.js";
import { KEYS, reasonName, titleOf } from "./desk.js";

/** Why this offer stands where it stands, in plain words. */
function reasonsOf({ factors, rank, probability }) {
  const found = [];
  if (!factors) return found;
  if (factors.P > 0) found.push(t("why.likely", { share: share(factors.P) }));
  if (factors.C !== 1) found.push(t(factors.C > 1 ? "why.fits" : "why.fitsLess", { percent: signed(factors.C - 1, 0) }));
  if (factors.L !== 1) found.push(t(factors.L > 1 ? "why.pushed" : "why.heldBack", { percent: signed(factors.L - 1, 0) }));
  if (rank === 1) found.push(t("why.best"));
  else if (probability !== null && probability < 0.2) found.push(t("why.tried"));
  return found;
}

export function OfferCard({ offer, reasons, record, isCurrent, isNew, outcome, rejecting, onChoose, onReject }) {
  const { treatment } = offer;
  const script = treatment?.script;
  const reasonList = useRef(null);
  useEffect(() => {
    if (rejecting) reasonList.current?.querySelector("button")?.focus();
  }, [rejecting]);
  return html`<article class=${`offer ${outcome === "rejected" ? "told-no" : ""}`} aria-current=${isCurrent ? "true" : undefined} onClick=${onChoose} data-offer=${offer.offer_id} aria-label=${titleOf(offer)}>
    <div class="row">
      <span class="title">${offer.rank}. ${titleOf(offer)}</span>
      ${isNew && html`<${Badge} kind="good">${t("new")}<//>`}
      ${outcome && html`<${Badge} kind=${outcome === "accepted" ? "good" : "accent"}>${t(`outcome.${outcome}`)}<//>`}
    </div>
    ${treatment?.message && html`<p>${treatment.message}</p>`}
    <p class="muted small">${reasonsOf(offer).join(" · ")}</p>
    ${script?.objections.map((o) => html`<div class="objection"><strong>${o.objection}</strong><div>${o.answer}</div></div>`)}
    ${script?.steps.length > 0 && html`<ol>${script.steps.map((step) => html`<li key=${step.step_id}>${step.text}</li>`)}</ol>`}
    ${treatment?.legal && html`<p class="muted small">${treatment.legal}</p>`}
    ${rejecting
      ? html`<div class="row" ref=${reasonList} role="group" aria-label=${t("whyNot")}>
          <span>${t("whyNot")}</span>
          ${reasons.map(
            ({ reason_id: id }, i) => html`<button key=${id} onClick=${() => record(offer, "rejected", id)}>${reasonName(reasons, id)}${i < KEYS && html`<kbd>${i + 1}</kbd>`}</button>`,
          )}
        </div>`
      : html`<div class="row">
          <button onClick=${() => record(offer, "presented")}>${t("do.presented")}<kbd>p</kbd></button>
          <button class="primary" onClick=${() => record(offer, "accepted")}>${t("do.accepted")}<kbd>a</kbd></button>
          <button class="danger" onClick=${onReject}>${t("do.rejected")}<kbd>r</kbd></button>
        </div>`}
  </article>`;
}

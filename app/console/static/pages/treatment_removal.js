// A treatment that is taken away, at once or by a change set.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { part, remove } from "../lib/api.js";
import { AddTo } from "../lib/changesets.js";
import { t } from "../lib/i18n.js";
import { readNewer } from "../lib/meanwhile.js";
import { mayChange } from "../lib/roles.js";
import { Failure, Field, Input, tell } from "../lib/widgets.js";
import { asciiOf } from "./offer.js";

/** `seen`: told of the treatment as it is now, which is what is removed. */
export function TreatmentRemoval({ offer, treatment, seen, onDone, onSaved }) {
  const [reason, setReason] = useState("");
  const [etag, setEtag] = useState(null);
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const form = useRef(null);
  const name = treatment.treatment_id;
  const path = `/v1/offers/${part(offer.offer_id)}/treatments/${part(name)}`;
  const read = (tag = null) =>
    readNewer(path, tag).then(({ answer, etag: found }) => {
      seen(answer);
      setEtag(found);
    }, setError);
  useEffect(() => {
    form.current.querySelector("input, select")?.focus();
    read();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    if (!mayChange()) return;
    setBusy(true);
    try {
      await remove(path, { "If-Match": etag, "X-Reason": asciiOf(reason) });
      tell(t("removedTreatment", { treatment: name }));
      onSaved();
    } catch (problem) {
      setError(problem);
      setBusy(false);
      // Somebody changed it: what is to be removed is shown as it is now.
      if (problem.status === 412) read(etag);
    }
  };
  return html`<form ref=${form} class="stack" data-testid="treatment-removal" onSubmit=${submit}>
    <p class="note warn">${t("removeTreatmentText", { channel: treatment.channel })}</p>
    ${mayChange() && html`<${Field} label=${t("reason")} hint=${t("reasonHint")}>${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} maxlength="500" />`}<//>`}
    ${error && html`<${Failure} error=${error} />`}
    <div class="row">${mayChange() && html`<button class="danger" disabled=${busy || etag === null}>${t("remove")}</button>`}<button type="button" onClick=${onDone}>${t("cancel")}</button></div>
    <${AddTo} isRemoval kind="treatment" thing=${`${offer.offer_id}/${name}`} disabled=${etag === null} onDone=${onDone} />
  </form>`;
}

// Whose data it is: everything that is held on a customer as a file, and its erasure, with what came of both.
import { html, useRef, useState } from "../lib/ui.js";
import { getText, part, post, withQuery } from "../lib/api.js";
import { number } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Card, Confirm, Failure } from "../lib/widgets.js";

// JavaScript's numbers are exact up to 2^53 only, so those of the answer are kept as they are written: as texts that begin
// with a NUL, which no text that is stored contains.
const parse = (text) =>
  JSON.parse(text.replace(/"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g, (token) => (token[0] === '"' ? token : `"\\u0000${token}"`)));
const write = (document_) => JSON.stringify(document_, null, 1).replace(/"\\u0000([^"]+)"/g, "$1");

/** Reads all pages of an export as one document; `onPage` gets the number of decisions so far. */
async function readAll(id, onPage) {
  const path = `/v1/customers/${part(id)}/export`;
  const whole = parse(await getText(path));
  for (let { next } = whole; next; ) {
    onPage(whole.decisions.length);
    const page = parse(await getText(withQuery(path, { before: next })));
    whole.decisions.push(...page.decisions);
    next = page.next;
  }
  delete whole.next;
  return whole;
}

function download(name, document_) {
  const address = URL.createObjectURL(new Blob([write(document_)], { type: "application/json" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  // The browser reads it after the click; what is released too early is an empty file.
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

export function CustomerPrivacy({ id, onErased }) {
  const [progress, setProgress] = useState(null);
  const [outcome, setOutcome] = useState(null);
  const [error, setError] = useState(null);
  const [asking, setAsking] = useState(false);
  const keepOut = useRef(null);
  const exportAll = async () => {
    setError(null);
    setOutcome(null);
    setProgress(0);
    try {
      const found = await readAll(id, setProgress);
      download("person.json", found);
      setOutcome({ text: t("exported", { n: number(found.decisions.length) }) });
    } catch (problem) {
      setError(problem);
    }
    setProgress(null);
  };
  const ask = () => {
    setOutcome(null);
    setAsking(true);
  };
  const erase = async (reason) => {
    const { exports, export_folders: folders, ...counts } = await post(`/v1/customers/${part(id)}/erase`, { reason, keep_out: keepOut.current.checked });
    const parts = Object.entries({ ...counts, exports: exports.length }).filter(([, n]) => n > 0);
    setError(null);
    setOutcome({ text: t(parts.length > 0 ? "erased" : "nothingToErase"), parts, folders });
    onErased();
  };
  return html`<${Card} title=${t("whoseData")} data-testid="privacy">
    <div class="row">
      <button disabled=${progress !== null} onClick=${exportAll}>${t("exportPerson")}</button>
      <button class="danger" disabled=${progress !== null} onClick=${ask}>${t("erasePerson")}</button>
    </div>
    ${progress !== null && html`<p role="status">${t("exporting", { n: number(progress) })}</p>`}
    ${error && html`<${Failure} error=${error} />`}
    ${outcome &&
    html`<div role="status">
      <div class="note good">
        <strong>${outcome.text}</strong>
        ${outcome.parts?.length > 0 && html`<dl class="facts">${outcome.parts.map(([what, n]) => html`<dt>${known(`erased.${what}`, what)}</dt><dd>${number(n)}</dd>`)}</dl>`}
      </div>
      ${outcome.folders?.length > 0 &&
      html`<div class="note warn">
        <strong>${t("erasedNotInFolders")}</strong>
        <ul>${outcome.folders.map((one) => html`<li>${one.host}: ${one.folder}/${one.kind}</li>`)}</ul>
      </div>`}
    </div>`}
    ${asking &&
    html`<${Confirm}
      title=${t("eraseTitle", { id })}
      text=${html`<p>${t("eraseText")}</p>
        <label><input type="checkbox" ref=${keepOut} defaultChecked /> ${t("keepOut")}</label>`}
      typed=${id}
      doing=${t("erasing")}
      withReason
      reasonHint=${t("eraseReasonHint")}
      danger
      action=${t("erasePerson")}
      onDone=${erase}
      onClose=${() => setAsking(false)}
    />`}
  <//>`;
}

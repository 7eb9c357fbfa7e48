// What all pages are made of.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./ui.js";
import { known, t } from "./i18n.js";
import { share } from "./format.js";

export function Page({ title, end, children }) {
  useEffect(() => {
    document.title = `${title} · nextbest`;
  }, [title]);
  return html`<div class="head"><h1>${title}</h1>${end && html`<div class="end">${end}</div>`}</div>${children}`;
}

/** What was loaded, or why it is not there yet. */
export function Loaded({ of, children }) {
  if (of.error) return html`<${Failure} error=${of.error} again=${of.reload} />`;
  if (of.data === null) return html`<p class="empty" role="status">${t("loading")}</p>`;
  return children(of.data);
}

export function Failure({ error, again }) {
  return html`<div class="note bad" role="alert">
    ${error.message}
    ${error.errors?.length > 0 &&
    html`<ul>${error.errors.map((e) => html`<li><code>${e.field}</code> ${e.reason}</li>`)}</ul>`}
    ${again && html` <button onClick=${again}>${t("again")}</button>`}
  </div>`;
}

export const Card = ({ title, children, ...rest }) =>
  html`<section class="card" ...${rest}>${title && html`<h2>${title}</h2>`}${children}</section>`;

export const Badge = ({ kind = "", children }) => html`<span class=${`badge ${kind}`}>${children}</span>`;
export const Status = ({ of }) => html`<${Badge} kind=${of}>${known(`status.${of}`, of)}<//>`;

/** A table: `columns` are { label, cell, number }. On narrow screens each row becomes a card. */
export function Table({ columns, rows, label, empty = t("nothing") }) {
  if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
    <table class="cards">
      <thead>
        <tr>${columns.map((c) => html`<th scope="col" class=${c.number ? "number" : ""}>${c.label}</th>`)}</tr>
      </thead>
      <tbody>
        ${rows.map(
          (row) =>
            html`<tr key=${row.key}>
              ${columns.map(
                (c) => html`<td class=${c.number ? "number" : ""} data-label=${c.label}>${c.cell(row)}</td>`,
              )}
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** The reason that an error of the API gives for a field, by its whole name or the end of it. */
export const mistakeIn = (error, field) => error?.errors.find((e) => e.field === field || e.field.endsWith(`.${field}`))?.reason;

let fields = 0;

/** A control with its label, a hint, and what is wrong with it. `children` gets the attributes to use. */
export function Field({ label, hint, mistake, children }) {
  const id = useRef(null);
  id.current ??= `field-${++fields}`;
  const about = [hint && `${id.current}-hint`, mistake && `${id.current}-mistake`].filter(Boolean).join(" ");
  return html`<div class="field">
    <label for=${id.current}>${label}</label>
    ${children({
      id: id.current,
      "aria-describedby": about || undefined,
      "aria-invalid": mistake ? "true" : undefined,
    })}
    ${hint && html`<span class="hint" id=${`${id.current}-hint`}>${hint}</span>`}
    ${mistake && html`<span class="mistake" id=${`${id.current}-mistake`}>${mistake}</span>`}
  </div>`;
}

export const Input = ({ value, onValue, ...rest }) =>
  html`<input value=${value ?? ""} onInput=${(e) => onValue(e.currentTarget.value)} ...${rest} />`;

export const Select = ({ value, onValue, options, ...rest }) =>
  html`<select value=${value ?? ""} onChange=${(e) => onValue(e.currentTarget.value)} ...${rest}>
    ${options.map(
      ([key, label]) => html`<option key=${key} value=${key} selected=${key === (value ?? "")}>${label}</option>`,
    )}
  </select>`;

export function Bar({ of, kind = "", label }) {
  const width = Math.min(Math.max(of ?? 0, 0), 1);
  return html`<div class=${`bar ${kind}`} role="img" aria-label=${label ?? share(of)}>
    <span style=${{ width: `${100 * width}%` }}></span>
  </div>`;
}

/** A rate with its interval, on a scale from 0 to `most`. `words`: how its figures are said. */
export function Interval({ rate, low, high, most = 1, words = share }) {
  if (rate === null || rate === undefined) return html`<span class="muted">${t("noRate")}</span>`;
  const at = (x) => `${(100 * Math.min(Math.max(x, 0), most)) / most}%`;
  const said = t("interval", { rate: words(rate), low: words(low), high: words(high) });
  return html`<div class="interval" role="img" aria-label=${said} title=${said}>
    <span class="range" style=${{ left: at(low), width: `calc(${at(high)} - ${at(low)})` }}></span>
    <span class="mean" style=${{ left: at(rate) }}></span>
  </div>`;
}

/** Steps that get fewer: [label, count]. */
export function Funnel({ steps }) {
  const most = Math.max(1, ...steps.map(([, count]) => count));
  return html`<div class="funnel">
    ${steps.map(
      ([label, count]) =>
        html`<span>${label}</span><${Bar} of=${count / most} label=${`${label}: ${count}`} />
          <span class="number">${count.toLocaleString()}</span>`,
    )}
  </div>`;
}

/**
 * Asks before something is done, with a reason where one is kept. `typed`: what has to be typed first; `doing`: what is
 * said while it is done.
 */
export function Confirm({ title, text, withReason, reasonHint = t("reasonHint"), typed, doing, action = t("confirm"), danger, onDone, onClose }) {
  const dialog = useRef(null);
  const [reason, setReason] = useState("");
  const [written, setWritten] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  // Before it is painted, so that no key is pressed at a dialog that is not open yet.
  useLayoutEffect(() => dialog.current.showModal(), []);
  const submit = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await onDone(reason);
      onClose();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="confirm-title" onClose=${onClose}>
    <form class="stack" onSubmit=${submit}>
      <h2 id="confirm-title">${title}</h2>
      <div>${text}</div>
      ${withReason &&
      html`<${Field} label=${t("reason")} hint=${reasonHint}>
        ${(a) => html`<${Input} ...${a} value=${reason} onValue=${setReason} required maxlength="500" />`}
      <//>`}
      ${typed !== undefined &&
      html`<${Field} label=${t("typeToConfirm", { text: typed })}>
        ${(a) => html`<${Input} ...${a} value=${written} onValue=${setWritten} required autocomplete="off" />`}
      <//>`}
      ${error && html`<${Failure} error=${error} />`}
      ${busy && doing && html`<p role="status">${doing}</p>`}
      <div class="row">
        <button class=${danger ? "danger" : "primary"} disabled=${busy || (typed !== undefined && written !== typed)}>${action}</button>
        <button type="button" onClick=${onClose}>${t("cancel")}</button>
      </div>
    </form>
  </dialog>`;
}

const TOLD = "told";
let tellings = 0;
/** Tells something for a few seconds, to screen readers too: once, and anew if it is told again. */
export const tell = (text, kind = "good") => dispatchEvent(new CustomEvent(TOLD, { detail: { text, kind } }));

export function Told() {
  const [shown, setShown] = useState([]);
  useEffect(() => {
    const add = ({ detail: told }) => {
      const detail = { ...told, key: ++tellings };
      setShown((old) => [...old.filter((x) => x.text !== detail.text).slice(-2), detail]);
      setTimeout(() => setShown((old) => old.filter((x) => x !== detail)), 6000);
    };
    addEventListener(TOLD, add);
    return () => removeEventListener(TOLD, add);
  }, []);
  return html`<div class="told" role="status" aria-live="polite">
    ${shown.map((x) => html`<div key=${x.key} class=${`note ${x.kind}`}>${x.text}</div>`)}
  </div>`;
}

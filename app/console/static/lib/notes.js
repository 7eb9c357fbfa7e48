// Notes on a customer: written by agents, read by whoever has the customer next.
import { html, useEffect, useLoad, useRef, useState } from "./ui.js";
import { get, part, post, remove, withQuery } from "./api.js";
import { time } from "./format.js";
import { t } from "./i18n.js";
import { may } from "./roles.js";
import { Card, Failure, Field, tell } from "./widgets.js";

const MAX_BYTES = 4096;
const sizeOf = (text) => new TextEncoder().encode(text.trim()).length;

/** Whether a note that was sent is among those that came since: the newest one before had the id `behind`. */
const isKept = async (path, { text, behind }) => (await get(path)).notes.some((note) => note.mine && note.note_id > behind && note.text === text.trim());

/** `about`: what is kept with a new note, its reason and decision. */
export function Notes({ customer, about = {} }) {
  const path = `/v1/customers/${part(customer)}/notes`;
  const [text, setText] = useState("");
  const [older, setOlder] = useState([]);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const loaded = useLoad(() => get(path), [path]);
  const pages = loaded.data ? [loaded.data, ...older] : [];
  // A text whose answer did not come: it may be kept, so that is looked at before it is sent again.
  const sent = useRef(null);
  const isLeft = useRef(false);
  useEffect(() => () => {
    isLeft.current = true;
  }, []);
  const attempt = async (step) => {
    setBusy(true);
    setError(null);
    try {
      await step();
    } catch (problem) {
      setError(problem);
      // Whoever has the next customer already does not see it here.
      if (isLeft.current) tell(t("noteFailed", { customer, reason: problem.message }), "bad");
    }
    setBusy(false);
  };
  const again = () => {
    setOlder([]);
    return loaded.reload();
  };
  const write = (event) => {
    event.preventDefault();
    return attempt(async () => {
      const isAgain = sent.current?.text === text;
      if (!isAgain) {
        const { notes } = loaded.data ?? (await get(path));
        sent.current = { text, behind: notes[0]?.note_id ?? 0 };
      }
      if (!isAgain || !(await isKept(path, sent.current))) await post(path, { text, ...about });
      sent.current = null;
      // What was written since then is another note.
      setText((now) => (now === text ? "" : now));
      tell(t("noteKept"));
      await again();
    });
  };
  const drop = (note) =>
    attempt(async () => {
      try {
        await remove(`${path}/${note.note_id}`);
      } catch (problem) {
        if (problem.status !== 404) throw problem;
        tell(t("noteGone"), "warn");
      }
      await again();
    });
  const more = (before) => attempt(async () => setOlder([...older, await get(withQuery(path, { before }))]));
  const next = pages.at(-1)?.next;
  return html`<${Card} title=${t("notes")} data-testid="notes">
    <form class="stack" onSubmit=${write}>
      <${Field} label=${t("newNote")} mistake=${sizeOf(text) > MAX_BYTES ? t("noteTooLong", { most: MAX_BYTES }) : ""}>
        ${(a) => html`<textarea ...${a} rows="3" value=${text} onInput=${(e) => setText(e.currentTarget.value)} required></textarea>`}
      <//>
      <div><button disabled=${busy || !text.trim() || sizeOf(text) > MAX_BYTES}>${t("keepNote")}</button></div>
    </form>
    ${(error ?? loaded.error) && html`<${Failure} error=${error ?? loaded.error} />`}
    ${loaded.data?.notes.length === 0 && html`<p class="empty">${t("noNotes")}</p>`}
    <ul class="plain small">
      ${pages
        .flatMap((page) => page.notes)
        .map(
          (note) => html`<li key=${note.note_id}>
            <strong>${time(note.written_at)}</strong> <span class="muted">${[note.author, note.reason].filter(Boolean).join(" · ")}</span>
            <div style=${{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }}>${note.text}</div>
            ${(note.mine || may("ops")) &&
            html`<button class="small" disabled=${busy} aria-label=${t("removeNote", { at: time(note.written_at) })} onClick=${() => drop(note)}>${t("remove")}</button>`}
          </li>`,
        )}
    </ul>
    ${next && html`<p><button onClick=${() => more(next)}>${t("showMore")}</button></p>`}
  <//>`;
}

// Somebody else saved what is being edited: what they changed, and two ways on. Nothing is written over unseen.
import { html } from "./ui.js";
import { ApiError, getTagged, patch } from "./api.js";
import { t } from "./i18n.js";

const isSame = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** The names of the fields in which two bodies differ. */
const differing = (one, other) => [...new Set([...Object.keys(one), ...Object.keys(other)])].filter((name) => !isSame(one[name], other[name]));

/** A value as it is read here: texts as they are, nothing as a dash, all else as JSON. */
const shown = (value) => (value === null || value === undefined || value === "" ? "–" : typeof value === "string" ? value : JSON.stringify(value));

const TRIES = 10;
const PAUSE_MS = 200;

/** The version of the catalogue that a tag holds: it can only grow. */
const versionOf = (etag) => Number(/\d+/.exec(etag ?? "")?.[0] ?? 0);

/**
 * Reads a thing that is newer than the one with this tag, or, with null, may just have been made: the process that is asked may
 * learn of that a moment later. After some tries gives what there is, or throws that there is none.
 */
export async function readNewer(path, etag) {
  for (let tries = 1; ; tries += 1) {
    const found = await getTagged(path).catch((error) => {
      if (error.status !== 404 || tries === TRIES) throw error;
      return null;
    });
    if (found && (etag === null || versionOf(found.etag) > versionOf(etag) || tries === TRIES)) return found;
    await new Promise((done) => setTimeout(done, PAUSE_MS));
  }
}

/**
 * Changes one field of a thing, if it still has the value that is shown. Returns the answer. Throws what was refused, or, with the
 * status 412 and as `now`, the value that somebody else has given it.
 */
export async function patchField(path, name, before, value) {
  let found = await getTagged(path);
  while (isSame(found.answer[name], before)) {
    try {
      return await patch(path, { [name]: value }, { "If-Match": found.etag });
    } catch (error) {
      const newer = error.status === 412 ? await readNewer(path, found.etag) : found;
      if (newer.etag === found.etag) throw error;
      found = newer;
    }
  }
  throw Object.assign(new ApiError(412, { detail: t("meanwhileValue", { value: shown(found.answer[name]) }) }), { now: found.answer[name] });
}

/**
 * `before`: the body that was read, `theirs`: as it is now, `mine`: as it is edited, `nameOf`: what a field is called. `onKeep` goes
 * on with what was edited on top of theirs, to be saved again; `onDiscard` with theirs alone.
 */
export function Meanwhile({ before, theirs, mine, nameOf, onKeep, onDiscard }) {
  const changed = differing(before, theirs);
  const both = changed.filter((name) => !isSame(before[name], mine[name]) && !isSame(theirs[name], mine[name]));
  return html`<div class="note warn stack" role="alert" data-testid="meanwhile">
    <strong>${t("meanwhile")}</strong>
    ${changed.length === 0 ? html`<p>${t("meanwhileElsewhere")}</p>` : html`<p>${t("meanwhileTheirs")}</p>`}
    <ul class="plain small">
      ${changed.map((name) => html`<li key=${name}><strong>${nameOf(name)}</strong> <span class="down">${shown(before[name])}</span> → <span class="up">${shown(theirs[name])}</span></li>`)}
    </ul>
    ${both.length > 0 && html`<p>${t("meanwhileBoth", { fields: both.map(nameOf).join(", ") })}</p>`}
    <div class="row"><button type="button" onClick=${onKeep}>${t("meanwhileKeep")}</button><button type="button" onClick=${onDiscard}>${t("meanwhileDiscard")}</button></div>
  </div>`;
}

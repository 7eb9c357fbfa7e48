// What to say, found by what the customer says: objections of the offer at hand first, then all scripts.
import { html, useEffect, useSettled, useState } from "../lib/ui.js";
import { get, withQuery } from "../lib/api.js";
import { language, t } from "../lib/i18n.js";
import { Badge, Card, Failure, Field, Input } from "../lib/widgets.js";

/** The text of a snippet, with what was found marked. Its HTML is parsed, and never put into the page. */
function Marked({ snippet }) {
  const { body } = new DOMParser().parseFromString(snippet, "text/html");
  return [...body.childNodes].map((node) => (node.nodeName === "MARK" ? html`<mark>${node.textContent}</mark>` : node.textContent));
}

const folded = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

export function Search({ offer, placement }) {
  const [words, setWords] = useState("");
  const [found, setFound] = useState({ results: [] });
  const settled = useSettled(words.trim(), 250);
  useEffect(() => {
    if (!settled) return setFound({ results: [] });
    let left = false;
    get(withQuery("/v1/scripts/search", { q: settled, language, placement, limit: 12 })).then(
      (answer) => !left && setFound(answer),
      (error) => !left && setFound({ results: [], error }),
    );
    return () => {
      left = true;
    };
  }, [settled, placement]);
  const own = (offer?.treatment?.script?.objections ?? []).filter((o) => settled && folded(`${o.objection} ${o.answer}`).includes(folded(settled)));
  const others = found.results.filter((r) => !own.some((o) => o.objection === r.text && r.offer_id === offer.offer_id));
  return html`<${Card} title=${t("searchScripts")}>
    <${Field} label=${t("searchWords")} hint=${t("searchHint")}>
      ${(a) => html`<${Input} ...${a} type="search" value=${words} onValue=${setWords} />`}
    <//>
    ${found.error && html`<${Failure} error=${found.error} />`}
    <div role="status">
      ${own.map((o) => html`<div class="objection"><${Badge} kind="accent">${t("thisOffer")}<//> <strong>${o.objection}</strong><div>${o.answer}</div></div>`)}
      ${others.map(
        (r) => html`<div class="objection" key=${`${r.offer_id} ${r.part} ${r.part_id}`}>
          <span class="muted small">${r.offer_name}</span> 
          ${r.answer
            ? html`<strong>${r.text}</strong><div>${r.answer}</div>`
            : html`<div><${Marked} snippet=${r.snippet} /></div>`}
        </div>`,
      )}
      ${settled && own.length + others.length === 0 && !found.error && html`<p class="empty">${t("nothingFound")}</p>`}
    </div>
  <//>`;
}

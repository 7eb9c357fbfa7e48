// What to say, found by what the customer says: objections of the offer at hand first, then articles, then all scripts.
import { html, useEffect, useSettled, useState } from "../lib/ui.js";
import { get, withQuery } from "../lib/api.js";
import { language, t } from "../lib/i18n.js";
import { Badge, Card, Failure, Field, Input } from "../lib/widgets.js";

/** The text of a snippet, with what was found marked. Its HTML is parsed, and never put into the page. */
function Marked({ snippet }) {
  const { body } = new DOMParser().parseFromString(snippet, "text/html");
  return [...body.childNodes].map((node) => (node.nodeName === "MARK" ? html`<mark>${node.textContent}</mark>` : node.textContent));
}

const folded = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

/** What a search finds; nothing while nothing is asked. */
function useSearch(path, query) {
  const [found, setFound] = useState({ results: [] });
  const asked = query && withQuery(path, query);
  useEffect(() => {
    if (!asked) return setFound({ results: [] });
    let left = false;
    get(asked).then(
      (answer) => !left && setFound({ ...answer, asked }),
      (error) => !left && setFound({ results: [], error, asked }),
    );
    return () => {
      left = true;
    };
  }, [asked]);
  // Until the next answer is here, that of other words is none.
  return found.asked === asked ? found : { results: [] };
}

/** An article that belongs to no offer: its title, and the text once it is opened. */
const Article = ({ of }) => html`<details class="objection">
  <summary><${Badge}>${t("article")}<//> <strong>${of.title}</strong></summary>
  <div class="lines">${of.body}</div>
</details>`;

/** `no`: the declared reason of the last no; articles that answer it are shown until something is searched for. */
export function Search({ offer, placement, no }) {
  const [words, setWords] = useState("");
  const settled = useSettled(words.trim(), 250);
  const where = { language, placement };
  const scripts = useSearch("/v1/scripts/search", settled && { q: settled, ...where, limit: 12 });
  // They are found in the memory of the service, also while scripts cannot be searched.
  const articles = useSearch("/v1/desk/articles", (settled || no) && { ...(settled ? { q: settled } : { reason: no.reason_id }), ...where, limit: 6 });
  const typed = folded(settled).match(/[\p{L}\p{N}]+/gu) ?? [];
  const own = (offer?.treatment?.script?.objections ?? []).filter((o) => {
    const text = folded(`${o.objection} ${o.answer}`);
    return typed.length > 0 && typed.every((word) => text.includes(word));
  });
  const others = scripts.results.filter((r) => !own.some((o) => o.objection === r.text && r.offer_id === offer.offer_id));
  const errors = [scripts.error, articles.error].filter(Boolean);
  return html`<${Card} title=${t("searchScripts")}>
    <${Field} label=${t("searchWords")} hint=${t("searchHint")}>
      ${(a) => html`<${Input} ...${a} type="search" value=${words} onValue=${setWords} />`}
    <//>
    ${errors.slice(0, 1).map((error) => html`<${Failure} error=${error} />`)}
    <div role="status" data-testid="found">
      ${own.map((o) => html`<div class="objection"><${Badge} kind="accent">${t("thisOffer")}<//> <strong>${o.objection}</strong><div>${o.answer}</div></div>`)}
      ${!settled && articles.results.length > 0 && html`<p class="muted small">${t("articlesOn", { reason: no?.name || no?.reason_id })}</p>`}
      ${articles.results.map((r) => html`<${Article} key=${r.article_id} of=${r} />`)}
      ${others.map(
        (r) => html`<div class="objection" key=${`${r.offer_id} ${r.part} ${r.part_id}`}>
          <span class="muted small">${r.offer_name}</span> 
          ${r.answer
            ? html`<strong>${r.text}</strong><div>${r.answer}</div>`
            : html`<div><${Marked} snippet=${r.snippet} /></div>`}
        </div>`,
      )}
      ${settled && own.length + articles.results.length + others.length === 0 && errors.length === 0 && html`<p class="empty">${t("nothingFound")}</p>`}
    </div>
  <//>`;
}

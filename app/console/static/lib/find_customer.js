// Whom somebody means: customers found by their id, an alias, or what identifies them.
import { html, useEffect, useRef } from "./ui.js";
import { post } from "./api.js";
import { known, t } from "./i18n.js";
import { may } from "./roles.js";
import { tell } from "./widgets.js";

export const maySearch = () => may("agent", "ops");

/** The label of a field in which a customer is named. */
export const customerLabel = () => t(maySearch() ? "customerToFind" : "customerId");

/** Statuses with which a search fails as such: out of reach, or there is none in a process of an earlier version. */
const isAway = ({ status }) => [0, 404, 405].includes(status) || status >= 500;

/**
 * Calls `take` with the id of the one customer who was found, or `choose` with all that was found. Where one may not
 * search, or cannot, the text is taken as an id. Throws what was refused.
 */
export async function findCustomer(text, take, choose) {
  if (!maySearch()) return take(text);
  let found;
  try {
    found = await post("/v1/customers/search", { text });
  } catch (error) {
    if (!isAway(error)) throw error;
    tell(t("searchAway"), "warn");
    return take(text);
  }
  return found.customers.length === 1 ? take(found.customers[0].customer_id) : choose({ ...found, text });
}

const foundBy = (what) => known(`foundBy.${what}`, what);

/** Several who were found, one of whom is chosen; or that nobody was. */
export function Found({ of, onChoose, onClose }) {
  const first = useRef(null);
  useEffect(() => first.current?.focus(), [of]);
  const { customers, more, pending, text } = of;
  return html`<div class=${`note ${customers.length ? "" : "warn"}`} role="status" data-testid="found-customers">
    <p>${customers.length ? t("severalFound", { text }) : t("nobodyFound", { text })}</p>
    <ul class="plain">
      ${customers.map(
        ({ customer_id: id, found_by: by }, i) => html`<li key=${id}>
          <button type="button" ref=${i === 0 ? first : null} onClick=${() => onChoose(id)}>${id}</button> <span class="muted small">${by.map(foundBy).join(", ")}</span>
        </li>`,
      )}
    </ul>
    ${more && html`<p>${t("moreFound")}</p>`}
    ${pending.length > 0 && html`<p>${t("notSearched", { names: pending.join(", ") })}</p>`}
    <p>
      ${customers.length === 0 && html`<button type="button" onClick=${() => onChoose(text)}>${t("takeAsId")}</button>`} <button type="button" onClick=${onClose}>${t("cancel")}</button>
    </p>
  </div>`;
}

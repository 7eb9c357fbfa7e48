// Groups and goals: the families of offers, their levers, and what is demanded of all their offers.
import { html, useLoad, useState } from "../lib/ui.js";
import { get, part } from "../lib/api.js";
import { duration, number } from "../lib/format.js";
import { t } from "../lib/i18n.js";
import { patchField } from "../lib/meanwhile.js";
import { may, mayChange } from "../lib/roles.js";
import { Badge, Card, Loaded, Page, tell } from "../lib/widgets.js";
import { GOALS } from "./family.js";

async function load() {
  const [groups, goals, offers] = await Promise.all([get("/v1/groups"), get("/v1/goals"), get("/v1/offers?brief=true")]);
  const counts = new Map();
  for (const offer of offers) counts.set(offer.group, (counts.get(offer.group) ?? 0) + 1);
  return { groups, goals, counts };
}

export default function Groups() {
  const loaded = useLoad(load);
  const end = may("ops") && html`<a class="button primary" href="/console/new-group">${t("newGroup")}</a>`;
  return html`<${Page} title=${t("page.groups")} end=${end}>
    <${Loaded} of=${loaded}>
      ${({ groups, goals, counts }) => html`<div class="grid wide">
        ${GOALS.map((id) => {
          const goal = goals.find((g) => g.id === id);
          return html`<${Card} title=${t(`goal.${id}`)}>
            ${goal && html`<${Lever} path=${`/v1/goals/${id}`} of=${goal} name=${t(`goal.${id}`)} /><${Demands} of=${goal} />`}
            ${(goal || may("ops")) && html`<p class="small"><a href=${`/console/goals/${id}`}>${t(goal ? "goalDemands" : "goalDeclare", { name: t(`goal.${id}`) })}</a></p>`}
            <ul class="plain">
              ${groups
                .filter((group) => group.goal === id)
                .map(
                  (group) => html`<li><div class="row"><a href=${`/console/groups/${part(group.group_id)}`}><strong>${group.name}</strong></a><span class="muted small">${t("nOffers", { n: number(counts.get(group.group_id) ?? 0) })}</span></div>
                    <${Lever} path=${`/v1/groups/${part(group.group_id)}`} of=${group} name=${group.name} /><${Demands} of=${group} /></li>`,
                )}
            </ul>
          <//>`;
        })}
      </div>`}
    <//>
  <//>`;
}

/** What holds for each of its offers, in words. */
function Demands({ of }) {
  return html`<div class="small">
    ${of.requires_consent && html`<div>${t(of.legal_basis === "consent" ? "consentNeeded" : "objectionStops", { purpose: of.requires_consent })}</div>`}
    ${of.contact_limits.map((limit) => html`<div>${t("limitWords", { max: limit.max, window: duration(limit.window_s) })}</div>`)}
    ${of.rules.map((rule) => html`<div><${Badge}>${rule.name}<//> <code>${rule.when}</code></div>`)}
  </div>`;
}

function Lever({ path, of, name }) {
  const [value, setValue] = useState(of.lever);
  const [kept, setKept] = useState(of.lever);
  const save = async (event) => {
    event.preventDefault();
    try {
      setKept((await patchField(path, "lever", kept, Number(value))).lever);
      tell(t("savedOffer", { offer: name }));
    } catch (error) {
      // What is typed stays: whoever saves it again has read what it replaces.
      if (error.now !== undefined) setKept(error.now);
      tell(error.message, error.now === undefined ? "bad" : "warn");
    }
  };
  if (!mayChange()) return html`<div class="small">${t("lever")}: ${number(kept, 1)} %</div>`;
  return html`<form class="row small" onSubmit=${save}>
    <label>${t("lever")} (%) <input class="short" type="number" step="any" aria-label=${t("leverOf", { offer: name })} value=${value} onInput=${(e) => setValue(e.currentTarget.value)} /></label>
    ${Number(value) !== kept && html`<button class="small">${t("save")}</button>`}
  </form>`;
}

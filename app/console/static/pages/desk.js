// The desk: an agent, a customer, the best offers with their arguments, and one key press for each answer.
import { html, useCallback, useEffect, useLoad, useRef, useState } from "../lib/ui.js";
import { get, post } from "../lib/api.js";
import { customerLabel, findCustomer, Found } from "../lib/find_customer.js";
import { time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Notes } from "../lib/notes.js";
import { send, watchOutbox } from "../lib/outbox.js";
import { may } from "../lib/roles.js";
import { Failure, Field, Input, Loaded, Page, Select, tell } from "../lib/widgets.js";
import { Contacts } from "./desk_contacts.js";
import { OfferCard } from "./desk_offer.js";
import { Search } from "./desk_search.js";

const KEPT_PLACEMENT = "nextbest.desk";
const MOODS = ["good", "neutral", "annoyed"];
/** Reasons of a no where the catalogue declares none. */
const REASONS = ["price", "has_it", "not_now", "no_need", "other"];
/** So many reasons have a key. */
export const KEYS = 9;
/** Names of the context that have a control of their own. */
const OWN = ["reason", "mood", "rejected_offer", "rejection_reason"];

async function load() {
  const { placements, questions, reasons } = await get("/v1/desk");
  return { placements, context: questions, declared: reasons };
}

export default function Desk() {
  const loaded = useLoad(load);
  return html`<${Page} title=${t("page.desk")}>
    <${Loaded} of=${loaded}>${(found) => html`<${Call} ...${found} />`}<//>
  <//>`;
}

/** The placement of agents, unless this desk has chosen another one. */
function firstPlacement(placements) {
  const kept = placements.find((p) => p.placement_id === localStorage.getItem(KEPT_PLACEMENT));
  return kept ?? placements.find((p) => p.presentation === "explicit") ?? placements.find((p) => p.channel === "agent") ?? placements[0];
}

const listed = (context, name, otherwise) => {
  const values = context.find((a) => a.name === name)?.values ?? [];
  return values.length > 0 ? values.map(String) : otherwise;
};

/** The reasons of a no: declared ones, of these those that the context lists, if it lists any of them; or else texts. */
function reasonsOfNo(declared, context) {
  const values = listed(context, "rejection_reason", []);
  const both = declared.filter((reason) => values.includes(reason.reason_id));
  if (declared.length > 0) return both.length > 0 ? both : declared;
  return (values.length > 0 ? values : REASONS).map((value) => ({ reason_id: value, name: "" }));
}

/** The name of a reason, for people. */
export const reasonName = (reasons, id) => reasons.find((reason) => reason.reason_id === id)?.name || known(`reason.${id}`, id);

/** The values of the form, as the context of a request: of the declared types, and nothing that is empty. */
function contextOf(answers, context) {
  const found = {};
  for (const [name, value] of Object.entries(answers)) {
    if (value === "") continue;
    const type = context.find((a) => a.name === name)?.type ?? "string";
    found[name] = type === "int" || type === "number" ? Number(value) : type === "bool" ? value === "true" : value;
  }
  return found;
}

function Call({ placements, context, declared }) {
  const [placement, setPlacement] = useState(firstPlacement(placements)?.placement_id ?? "");
  const [customer, setCustomer] = useState("");
  const [found, setFound] = useState(null);
  const [answers, setAnswers] = useState({ reason: "", mood: "" });
  const [answer, setAnswer] = useState(null);
  const [before, setBefore] = useState(null);
  const [told, setTold] = useState({});
  const [current, setCurrent] = useState(0);
  const [rejecting, setRejecting] = useState(false);
  const [error, setError] = useState(null);
  const [waiting, setWaiting] = useState(0);
  const [calls, setCalls] = useState([]);
  const [no, setNo] = useState(null);
  const heading = useRef(null);
  // Counts the customers who were asked about: what comes late for the one before is not shown.
  const turn = useRef(0);
  useEffect(() => watchOutbox(setWaiting), []);
  // Whose the answer is: the field may name the next one already.
  const asked = answer ? calls[0].customer : "";

  const ask = useCallback(
    async (id, more = {}, isNext = false) => {
      const mine = turn.current;
      setError(null);
      const body = {
        customer_id: id,
        placement,
        context: { ...contextOf(answers, context), ...more },
        decision_id: `desk-${crypto.randomUUID()}`,
      };
      try {
        const made = await post("/v1/decisions", body);
        if (mine !== turn.current) return null;
        if (isNext) {
          setBefore(null);
          setNo(null);
        }
        setAnswer(made);
        setTold({});
        setCurrent(0);
        setRejecting(false);
        setCalls((old) => [{ ...made, customer: id, at: new Date().toISOString(), outcomes: {} }, ...old].slice(0, 20));
        return made;
      } catch (problem) {
        if (mine === turn.current) setError(problem);
        return null;
      }
    },
    [placement, answers, context],
  );

  const take = (id) => {
    turn.current += 1;
    setFound(null);
    return ask(id, {}, true);
  };

  const begin = async (event) => {
    event?.preventDefault();
    localStorage.setItem(KEPT_PLACEMENT, placement);
    setFound(null);
    setError(null);
    const mine = (turn.current += 1);
    const ifMine = (then) => (what) => (mine === turn.current ? then(what) : undefined);
    await findCustomer(customer.trim(), ifMine(take), ifMine(setFound)).catch(ifMine(setError));
  };

  const record = useCallback(
    async (offer, outcome, reason) => {
      const mine = turn.current;
      try {
        // Feedback takes declared reasons alone. In the context others are free texts.
        const isDeclared = declared.some((one) => one.reason_id === reason);
        const taken = await send({ decision_id: answer.decision_id, offer_id: offer.offer_id, outcome, ...(isDeclared ? { reason } : {}) });
        setTold((old) => ({ ...old, [offer.offer_id]: outcome }));
        setCalls((old) =>
          old.map((call) =>
            call.decision_id === answer.decision_id
              ? { ...call, outcomes: { ...call.outcomes, [offer.offer_id]: { outcome, reason } } }
              : call,
          ),
        );
        tell(taken ? t(`told.${outcome}`, { offer: titleOf(offer) }) : t("toldLater"), taken ? "good" : "warn");
        if (outcome === "rejected" && mine === turn.current) {
          setNo(declared.find((one) => one.reason_id === reason) ?? null);
          const old = answer.offers;
          const inContext = !isDeclared || context.some((a) => a.name === "rejection_reason");
          const next = await ask(asked, { rejected_offer: offer.offer_id, ...(inContext ? { rejection_reason: reason } : {}) });
          if (next) setBefore({ rejected: offer, offers: old });
        }
      } catch (problem) {
        setError(problem);
      }
    },
    [answer, asked, ask, context, declared],
  );

  const reasons = reasonsOfNo(declared, context);
  const offer = answer?.offers[current];
  // While one of several customers is chosen, keys would tell something of the one before.
  useKeys({ offer, answer: found ? null : answer, current, setCurrent, rejecting, setRejecting, reasons, record });
  // After the keys are listened to: whoever is at the offers can press them.
  useEffect(() => heading.current?.focus(), [answer?.decision_id]);
  const others = context.filter((a) => !OWN.includes(a.name) && ["string", "int", "number", "bool"].includes(a.type));
  const answerField = (name) => ({ value: answers[name] ?? "", onValue: (value) => setAnswers({ ...answers, [name]: value }) });
  return html`<div class="desk">
    <div>
      <form class="card" onSubmit=${begin}>
        <div class="fields">
          <${Field} label=${customerLabel()}>${(a) => html`<${Input} ...${a} value=${customer} onValue=${setCustomer} required autofocus autocomplete="off" />`}<//>
          <${Field} label=${t("callReason")}>
            ${(a) => html`<${Choice} ...${a} ...${answerField("reason")} values=${listed(context, "reason", [])} />`}
          <//>
          <${Field} label=${t("mood")}>
            ${(a) => html`<${Choice} ...${a} ...${answerField("mood")} values=${listed(context, "mood", MOODS)} words="mood" />`}
          <//>
          <${Field} label=${t("placement")}>
            ${(a) => html`<${Select} ...${a} value=${placement} onValue=${setPlacement} options=${placements.map((p) => [p.placement_id, p.placement_id])} />`}
          <//>
        </div>
        ${others.length > 0 &&
        html`<details class="small"><summary>${t("answers")}</summary>
          <div class="fields">
            ${others.map(
              (a) => html`<${Field} label=${a.description || a.name}>
                ${(given) => html`<${Choice} ...${given} ...${answerField(a.name)} values=${a.type === "bool" ? ["true", "false"] : a.values.map(String)} number=${a.type !== "string"} />`}
              <//>`,
            )}
          </div>
        </details>`}
        <p><button class="primary">${t("askOffers")}</button></p>
      </form>
      ${found && html`<${Found} of=${found} onChoose=${take} onClose=${() => setFound(null)} />`}
      ${waiting > 0 && html`<div class="note warn" role="status">${t("waitingOutcomes", { n: waiting })}</div>`}
      ${error && html`<${Failure} error=${error} again=${answer === null ? () => begin() : undefined} />`}
      ${answer &&
      html`<section class="stack" aria-labelledby="offers-title" data-testid="answer">
        <h2 id="offers-title" tabindex="-1" ref=${heading}>${t("offersFor", { customer: asked })}</h2>
        ${answer.degraded.length > 0 &&
        html`<div class="note warn" role="alert"><strong>${t("deskDegraded")}</strong> ${answer.degraded.map((reason) => known(`degraded.${reason}`, reason)).join(", ")}</div>`}
        ${answer.signals && html`<div class="note warn" role="status" data-testid="signals">${t("deskSignal", { names: answer.signals.map(signalText).join(", ") })}</div>`}
        ${before && html`<${Difference} before=${before} now=${answer.offers} />`}
        ${answer.offers.length === 0 && html`<p class="note">${t("nothingNow")}</p>`}
        ${answer.offers.map(
          (o, i) => html`<${OfferCard}
            key=${o.offer_id}
            offer=${o}
            ...${{ reasons, record }}
            isCurrent=${i === current}
            isNew=${before && !before.offers.some((old) => old.offer_id === o.offer_id)}
            outcome=${told[o.offer_id]}
            rejecting=${rejecting && i === current}
            onChoose=${() => setCurrent(i)}
            onReject=${() => {
              setCurrent(i);
              setRejecting(true);
            }}
          />`,
        )}
        <p class="muted small">${t("deskKeys")}</p>
      </section>`}
    </div>
    <aside aria-label=${t("help")}>
      <${Search} offer=${offer} placement=${placement} no=${no} />
      ${answer && may("agent") && html`<${Notes} key=${asked} customer=${asked} about=${{ reason: String(answers.reason), decision_id: answer.decision_id }} />`}
      <${Contacts} customer=${asked} calls=${calls} reasons=${declared} />
    </aside>
  </div>`;
}

/** Why offers are held back, and until when if that is known. */
const signalText = (signal) => (signal.until ? `${signal.name} (${t("until", { at: time(signal.until) })})` : signal.name);

export const titleOf = (offer) => offer.treatment?.title || offer.offer_id;

/** A value out of a list, or any if there is none. */
function Choice({ values, words, number, value, onValue, ...rest }) {
  if (values.length === 0) return html`<${Input} ...${rest} value=${value} onValue=${onValue} type=${number ? "number" : "text"} />`;
  const options = [["", t("unknown")], ...values.map((v) => [v, words ? known(`${words}.${v}`, v) : v])];
  return html`<${Select} ...${rest} value=${value} onValue=${onValue} options=${options} />`;
}

/** How the answer changed by a no. */
function Difference({ before, now }) {
  const came = now.filter((o) => !before.offers.some((old) => old.offer_id === o.offer_id));
  const left = before.offers.filter((o) => !now.some((other) => other.offer_id === o.offer_id));
  const names = (offers) => offers.map(titleOf).join(", ");
  return html`<div class="note good" role="status" data-testid="difference">
    <strong>${t("afterNo", { offer: titleOf(before.rejected) })}</strong>
    ${came.length > 0 && html` ${t("cameIn", { offers: names(came) })}`}
    ${left.length > 0 && html` ${t("wentOut", { offers: names(left) })}`}
    ${came.length + left.length === 0 && html` ${t("onlyOrder")}`}
  </div>`;
}

/** One key for each answer, wherever the focus is, but not while something is written. */
function useKeys({ offer, answer, current, setCurrent, rejecting, setRejecting, reasons, record }) {
  useEffect(() => {
    if (!answer) return undefined;
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
      const { key } = event;
      const step = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 }[key];
      const reason = rejecting && reasons.slice(0, KEYS)[Number(key) - 1];
      if (reason) record(offer, "rejected", reason.reason_id);
      else if (rejecting && key === "Escape") setRejecting(false);
      else if (step) setCurrent(Math.min(Math.max(current + step, 0), answer.offers.length - 1));
      else if (offer && key === "p") record(offer, "presented");
      else if (offer && key === "a") record(offer, "accepted");
      else if (offer && key === "r") setRejecting(true);
      else return;
      event.preventDefault();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [offer, answer, current, rejecting, reasons, record]);
}

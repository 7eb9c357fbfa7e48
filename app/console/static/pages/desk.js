// The desk: an agent, a customer, the best offers with their arguments, and one key press for each answer.
import { html, useCallback, useEffect, useLayoutEffect, useLoad, useRef, useState } from "../lib/ui.js";
import { get, post } from "../lib/api.js";
import { customerLabel, findCustomer, Found } from "../lib/find_customer.js";
import { time } from "../lib/format.js";
import { known, t } from "../lib/i18n.js";
import { Notes } from "../lib/notes.js";
import { putAway, send, watchOutbox } from "../lib/outbox.js";
import { may } from "../lib/roles.js";
import { Failure, Field, Input, Loaded, Page, Select, tell } from "../lib/widgets.js";
import { Contacts } from "./desk_contacts.js";
import { OfferCard } from "./desk_offer.js";
import { Search } from "./desk_search.js";

const KEPT_PLACEMENT = "nextbest.desk";
const MOODS = ["good", "neutral", "annoyed"];
/** Reasons of a no where the catalogue declares none. */
const REASONS = ["price", "has_it", "not_now", "no_need", "other"];
/** Reasons of a degraded answer for which offers are withheld. */
const WITHHOLDING = ["contact_history_unavailable", "profile_unavailable", "functions_unavailable", "deadline_exceeded"];
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
  const [current, setCurrent] = useState(0);
  const [rejecting, setRejecting] = useState(false);
  const [failure, setFailure] = useState(null);
  const [outbox, setOutbox] = useState({ waiting: 0, refused: [] });
  const [calls, setCalls] = useState([]);
  const [no, setNo] = useState(null);
  const [isAsking, setAsking] = useState(false);
  const heading = useRef(null);
  // Counts what is asked: what comes late for something before is not shown.
  const turn = useRef(0);
  // What the form asks for just now, so that a key that is pressed twice asks once.
  const onWay = useRef(null);
  // What was asked for last without an answer: it may have been decided, so it is asked for by its id again.
  const lost = useRef(null);
  // Whoever has begun to write since offers were asked for goes on writing, and presses no keys.
  const isWriting = useRef(false);
  useEffect(() => watchOutbox(setOutbox), []);
  // Whose the answer is: the field may name the next one already.
  const asked = answer ? calls[0].customer : "";
  const wasRefused = (decision, offer, outcome) =>
    outbox.refused.some(({ outcome: one }) => one.decision_id === decision && one.offer_id === offer && one.outcome === outcome);
  /** What was told of the offers of a call, but for what was refused later. */
  const toldOf = (call) => Object.fromEntries(Object.entries(call.outcomes).filter(([id, one]) => !wasRefused(call.decision_id, id, one.outcome)));

  const start = () => {
    setFailure(null);
    setAsking(true);
    return (turn.current += 1);
  };
  const end = (mine) => {
    if (mine !== turn.current) return;
    onWay.current = null;
    setAsking(false);
  };

  /** Asks for offers. `rejected`: the no after which they are the next ones, with what was offered before. */
  const ask = useCallback(
    async (id, rejected = null) => {
      const mine = start();
      const body = { customer_id: id, placement, context: { ...contextOf(answers, context), ...rejected?.context } };
      const what = JSON.stringify(body);
      if (lost.current?.what !== what) lost.current = { what, decision_id: `desk-${crypto.randomUUID()}` };
      const { decision_id } = lost.current;
      try {
        const made = await post("/v1/decisions", { ...body, decision_id });
        if (lost.current?.decision_id === decision_id) lost.current = null;
        if (mine !== turn.current) return;
        setBefore(rejected?.before ?? null);
        if (!rejected) setNo(null);
        setAnswer({ ...made, rejected });
        setCurrent(0);
        setRejecting(false);
        setCalls((old) => [{ ...made, customer: id, at: new Date().toISOString(), outcomes: {} }, ...old].slice(0, 20));
      } catch (error) {
        if (mine === turn.current) setFailure({ error, again: () => ask(id, rejected) });
      }
      end(mine);
    },
    [placement, answers, context],
  );

  const take = (id) => {
    setFound(null);
    return ask(id);
  };

  const begin = async (event) => {
    event?.preventDefault();
    const wanted = JSON.stringify([customer.trim(), placement, answers]);
    if (onWay.current === wanted) return;
    localStorage.setItem(KEPT_PLACEMENT, placement);
    setFound(null);
    isWriting.current = false;
    const mine = start();
    onWay.current = wanted;
    const ifMine = (then) => (what) => (mine === turn.current ? then(what) : undefined);
    await findCustomer(customer.trim(), ifMine(take), ifMine(setFound)).catch(ifMine((error) => setFailure({ error })));
    end(mine);
  };

  const record = useCallback(
    async (offer, outcome, reason) => {
      // While others are on their way the turn is theirs, not that of the offers that are shown.
      const mine = isAsking ? null : turn.current;
      isWriting.current = false;
      setRejecting(false);
      try {
        // Feedback takes declared reasons alone. In the context others are free texts.
        const isDeclared = declared.some((one) => one.reason_id === reason);
        const taken = await send({ decision_id: answer.decision_id, offer_id: offer.offer_id, outcome, ...(isDeclared ? { reason } : {}) });
        if (taken === null) return;
        // By its decision: the next customer may be offered the same.
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
          const inContext = !isDeclared || context.some((a) => a.name === "rejection_reason");
          const more = { rejected_offer: offer.offer_id, ...(inContext ? { rejection_reason: reason } : {}) };
          await ask(asked, { context: more, before: { rejected: offer, offers: answer.offers } });
        }
      } catch (error) {
        if (document.activeElement === document.body) heading.current?.focus();
        // Whoever has gone on to another customer is told too, and of whom.
        setFailure({ error: mine === turn.current ? error : { ...error, message: t("outcomeRefused", { offer: `${titleOf(offer)} (${asked})`, reason: error.message }) } });
      }
    },
    [answer, asked, ask, context, declared, isAsking],
  );

  const reasons = reasonsOfNo(declared, context);
  const isWithheld = answer?.offers.length === 0 && answer.degraded.some((reason) => WITHHOLDING.includes(reason));
  const offer = answer?.offers[current];
  // While one of several customers is chosen, keys would tell something of the one before.
  useKeys({ offer, answer: found ? null : answer, isAsking, current, setCurrent, rejecting, setRejecting, reasons, record });
  // After the keys are listened to: whoever is at the offers can press them.
  useEffect(() => {
    if (!isWriting.current || !document.activeElement?.matches("input, textarea, select")) heading.current?.focus();
  }, [answer?.decision_id]);
  const others = context.filter((a) => !OWN.includes(a.name) && ["string", "int", "number", "bool"].includes(a.type));
  const answerField = (name) => ({ value: answers[name] ?? "", onValue: (value) => setAnswers({ ...answers, [name]: value }) });
  return html`<div class="desk" onInput=${() => { isWriting.current = true; }}>
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
      ${outbox.waiting > 0 && html`<div class="note warn" role="status">${t("waitingOutcomes", { n: outbox.waiting })}</div>`}
      ${outbox.refused.filter((one) => !one.isSeen).map((one) => html`<${Refused} key=${JSON.stringify(one.outcome)} ...${{ one, calls }} />`)}
      ${failure && html`<${Failure} error=${failure.error} again=${failure.again ?? (answer === null ? () => begin() : undefined)} />`}
      ${answer &&
      html`<section class="stack" aria-labelledby="offers-title" data-testid="answer">
        <h2 id="offers-title" tabindex="-1" ref=${heading}>${t("offersFor", { customer: asked })}</h2>
        ${answer.degraded.length > 0 &&
        html`<div class="note warn" role="alert"><strong>${t(isWithheld ? "deskWithheld" : "deskDegraded")}</strong> ${answer.degraded.map((reason) => known(`degraded.${reason}`, reason)).join(", ")}</div>`}
        ${answer.signals && html`<div class="note warn" role="status" data-testid="signals">${t("deskSignal", { names: answer.signals.map(signalText).join(", ") })}</div>`}
        ${before && html`<${Difference} before=${before} now=${answer.offers} />`}
        ${answer.offers.length === 0 &&
        (isWithheld ? html`<p><button disabled=${isAsking} onClick=${() => ask(asked, answer.rejected)}>${t("again")}</button></p>` : html`<p class="note">${t("nothingNow")}</p>`)}
        ${answer.offers.map(
          (o, i) => html`<${OfferCard}
            key=${o.offer_id}
            offer=${o}
            ...${{ reasons, record }}
            isCurrent=${i === current}
            isNew=${before && !before.offers.some((old) => old.offer_id === o.offer_id)}
            outcome=${toldOf(calls[0])[o.offer_id]?.outcome}
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
      <${Contacts} customer=${asked} calls=${calls.map((call) => ({ ...call, outcomes: toldOf(call) }))} reasons=${declared} />
    </aside>
  </div>`;
}

/** Why offers are held back, and until when if that is known. */
const signalText = (signal) => (signal.until ? `${signal.name} (${t("until", { at: time(signal.until) })})` : signal.name);

export const titleOf = (offer) => offer.treatment?.title || offer.offer_id;

/** What waited, and was refused in the end: it stays until somebody has read it. */
function Refused({ one, calls }) {
  const { outcome, reason } = one;
  const customer = calls.find((call) => call.decision_id === outcome.decision_id)?.customer;
  const offer = customer ? `${outcome.offer_id} (${customer})` : outcome.offer_id;
  return html`<div class="note bad" role="alert">
    ${t("outcomeRefused", { offer, reason })} <button type="button" onClick=${() => putAway(one)}>${t("seen")}</button>
  </div>`;
}

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
function useKeys({ offer, answer, isAsking, current, setCurrent, rejecting, setRejecting, reasons, record }) {
  // With what is shown, and not after it was painted: a key that comes between would be taken for one of before.
  useLayoutEffect(() => {
    if (!answer) return undefined;
    const press = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select, dialog")) return;
      const { key } = event;
      if (isAsking) {
        // It would be told of an offer that is about to go.
        if (["p", "a", "r"].includes(key) || (rejecting && Number(key))) tell(t("stillAsking"), "warn");
        return;
      }
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
  }, [offer, answer, isAsking, current, rejecting, reasons, record]);
}

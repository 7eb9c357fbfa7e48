/**
 * The client of nextbest for pages: ask for offers, tell what becomes of them, and go on when the service is away.
 *
 * @module @nextbest/client
 */

import { Asker, nameOf } from "./asker.js";
import { Outbox } from "./outbox.js";
import { Kept, randomId } from "./storage.js";
import { Refused, Transport, Unavailable } from "./transport.js";
import { SEEN_MS, whenSeen } from "./visibility.js";

export { Refused, Unavailable };

/** @typedef {import("../types/openapi.js").components["schemas"]} Schemas */
/** @typedef {Schemas["PublicOffer"]} Offer */
/**
 * @typedef {Schemas["PublicDecisionAnswer"] & {local?: boolean, asked?: string}} Decision
 *   `local`: made here, since the service was away; `asked`: a name for who asked
 */
/** @typedef {"presented" | "clicked" | "accepted" | "rejected"} Outcome */

/**
 * @typedef {object} Options
 * @property {string} url address of the service
 * @property {string} key a publishable key, `nb_pub_...`
 * @property {() => Promise<string | null> | string | null} [customerToken] asks your back end for the token of the
 *   customer who is signed in; null if nobody is
 * @property {Record<string, Array<Partial<Offer> & {offer_id: string}>>} [defaults] offers by placement, for when the
 *   service is away
 * @property {number} [timeoutMs] the most that a question takes, repetitions included (2000)
 * @property {number} [attempts] how often a request is made at most (3)
 * @property {number} [maxWaiting] of so many outcomes that wait the oldest are dropped (200)
 */

/**
 * @typedef {object} Question
 * @property {Record<string, unknown>} [context] free JSON about this visit
 * @property {number} [limit] at most so many offers
 * @property {boolean} [fresh] a new decision, in place of that of this visit
 */

export class Nextbest {
  /** @param {Options} options */
  constructor(options) {
    const patience = { attempts: options.attempts ?? 3, timeoutMs: options.timeoutMs ?? 2000, firstPauseMs: 100 };
    this.transport = new Transport(options.url, options.key, patience);
    this.defaults = options.defaults ?? {};
    /** Kept for the visit: until the tab is closed. */
    this.visit = new Kept(() => window.sessionStorage);
    this.asker = new Asker(new Kept(() => window.localStorage), options.customerToken);
    this.outbox = new Outbox(this.transport, this.asker, this.visit, options.maxWaiting ?? 200);
  }

  /**
   * Ask for the best offers at a placement, now. In one visit the answer stays the same, unless `fresh` is said.
   *
   * While the service is away the placement's `defaults` are answered, `local`; without any it throws `Unavailable`.
   * Throws `Refused`.
   *
   * @param {string} placement
   * @param {Question} [question]
   * @returns {Promise<Decision>}
   */
  async decide(placement, { context, limit, fresh = false } = {}) {
    for (let again = false; ; again = true) {
      try {
        return await this.ask(placement, { context, limit }, fresh || again, again);
      } catch (error) {
        // A token that ended, or an id that this tab used for somebody else: both are made anew, once.
        const renewable = error instanceof Refused && (error.status === 401 || error.status === 409);
        if (renewable && !again) continue;
        const offers = this.defaults[placement];
        if (offers === undefined || !(error instanceof Unavailable)) throw error;
        return local(placement, offers.slice(0, limit));
      }
    }
  }

  /**
   * Tell the outcomes of an element that shows an offer: `presented` once it has really been seen, `clicked` at a
   * click on it.
   *
   * @param {Element} element
   * @param {Decision} decision
   * @param {Offer | string} offer
   * @param {{seenMs?: number}} [options] for how long half of it must be in view (1000)
   * @returns {() => void} stops watching
   */
  watch(element, decision, offer, { seenMs = SEEN_MS } = {}) {
    let told = false;
    const seen = () => {
      if (!told) this.tell(decision, offer, "presented");
      told = true;
    };
    const stop = whenSeen(element, seen, seenMs);
    const clicked = () => {
      stop();
      seen(); // who clicks has seen it
      this.tell(decision, offer, "clicked");
    };
    element.addEventListener("click", clicked, { once: true });
    return () => {
      stop();
      element.removeEventListener("click", clicked);
    };
  }

  /**
   * Tell an outcome, in the background, also if the page goes away. Counts once however often it is told.
   *
   * @param {Decision} decision
   * @param {Offer | string} offer
   * @param {Outcome} outcome
   * @returns {boolean} false for a decision that takes no feedback
   */
  tell(decision, offer, outcome) {
    if (decision.local || decision.feedback_until === null) return false;
    const offerId = typeof offer === "string" ? offer : offer.offer_id;
    this.outbox.put({
      decision_id: decision.decision_id,
      offer_id: offerId,
      outcome,
      occurred_at: new Date().toISOString(),
      who: decision.asked ?? nameOf(this.asker.known()),
    });
    return true;
  }

  /** Tell all that waits, now. @returns {Promise<boolean>} whether nothing is left */
  flush() {
    return this.outbox.flush();
  }

  /** Somebody signed in or out: tell what is left, then ask for the token anew. */
  async customerChanged() {
    await this.flush();
    this.asker.forget();
  }

  /**
   * @param {string} placement
   * @param {{context?: Record<string, unknown>, limit?: number}} question
   * @param {boolean} fresh
   * @param {boolean} renew
   * @returns {Promise<Decision>}
   */
  async ask(placement, { context, limit }, fresh, renew) {
    const who = await this.asker.who({ renew });
    const name = `decision:${placement}:${nameOf(who)}`;
    const id = (fresh ? null : this.visit.get(name)) ?? `pub-${randomId()}`;
    this.visit.set(name, id);
    const body = { ...who, placement, context: context ?? {}, limit, decision_id: id };
    return { ...(await this.transport.post("decisions", body)), asked: nameOf(who) };
  }
}

/** @param {string} placement @param {Array<Partial<Offer> & {offer_id: string}>} offers @returns {Decision} */
function local(placement, offers) {
  return {
    decision_id: `local-${randomId()}`,
    placement,
    offers: offers.map((offer, index) => ({ rank: index + 1, treatment: null, ...offer })),
    nothing_right_now: offers.length === 0,
    degraded: true,
    feedback_until: null,
    local: true,
  };
}

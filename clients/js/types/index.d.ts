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
    constructor(options: Options);
    transport: Transport;
    defaults: Record<string, (Partial<{
        offer_id: string;
        rank: number;
        treatment: import("../types/openapi.js").components["schemas"]["PublicTreatment"] | null;
    }> & {
        offer_id: string;
    })[]>;
    /** Kept for the visit: until the tab is closed. */
    visit: Kept;
    asker: Asker;
    outbox: Outbox;
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
    decide(placement: string, { context, limit, fresh }?: Question): Promise<Decision>;
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
    watch(element: Element, decision: Decision, offer: Offer | string, { seenMs }?: {
        seenMs?: number;
    }): () => void;
    /**
     * Tell an outcome, in the background, also if the page goes away. Counts once however often it is told.
     *
     * @param {Decision} decision
     * @param {Offer | string} offer
     * @param {Outcome} outcome
     * @returns {boolean} false for a decision that takes no feedback
     */
    tell(decision: Decision, offer: Offer | string, outcome: Outcome): boolean;
    /** Tell all that waits, now. @returns {Promise<boolean>} whether nothing is left */
    flush(): Promise<boolean>;
    /** Somebody signed in or out: tell what is left, then ask for the token anew. */
    customerChanged(): Promise<void>;
    /**
     * @param {string} placement
     * @param {{context?: Record<string, unknown>, limit?: number}} question
     * @param {boolean} fresh
     * @param {boolean} renew
     * @returns {Promise<Decision>}
     */
    ask(placement: string, { context, limit }: {
        context?: Record<string, unknown>;
        limit?: number;
    }, fresh: boolean, renew: boolean): Promise<Decision>;
}
export type Schemas = import("../types/openapi.js").components["schemas"];
export type Offer = Schemas["PublicOffer"];
/**
 * `local`: made here, since the service was away; `asked`: a name for who asked
 */
export type Decision = Schemas["PublicDecisionAnswer"] & {
    local?: boolean;
    asked?: string;
};
export type Outcome = "presented" | "clicked" | "accepted" | "rejected";
export type Options = {
    /**
     * address of the service
     */
    url: string;
    /**
     * a publishable key, `nb_pub_...`
     */
    key: string;
    /**
     * asks your back end for the token of the
     * customer who is signed in; null if nobody is
     */
    customerToken?: (() => Promise<string | null> | string | null) | undefined;
    /**
     * offers by placement, for when the
     * service is away
     */
    defaults?: Record<string, (Partial<{
        offer_id: string;
        rank: number;
        treatment: import("../types/openapi.js").components["schemas"]["PublicTreatment"] | null;
    }> & {
        offer_id: string;
    })[]> | undefined;
    /**
     * the most that a question takes, repetitions included (2000)
     */
    timeoutMs?: number | undefined;
    /**
     * how often a request is made at most (3)
     */
    attempts?: number | undefined;
    /**
     * of so many outcomes that wait the oldest are dropped (200)
     */
    maxWaiting?: number | undefined;
};
export type Question = {
    /**
     * free JSON about this visit
     */
    context?: Record<string, unknown> | undefined;
    /**
     * at most so many offers
     */
    limit?: number | undefined;
    /**
     * a new decision, in place of that of this visit
     */
    fresh?: boolean | undefined;
};
import { Refused } from "./transport.js";
import { Unavailable } from "./transport.js";
import { Transport } from "./transport.js";
import { Kept } from "./storage.js";
import { Asker } from "./asker.js";
import { Outbox } from "./outbox.js";
export { Refused, Unavailable };

/**
 * @typedef {object} Item
 * @property {string} decision_id
 * @property {string} offer_id
 * @property {"presented" | "clicked" | "accepted" | "rejected"} outcome
 * @property {string} occurred_at
 * @property {string} who name of who was asked for
 */
export class Outbox {
    /**
     * @param {import("./transport.js").Transport} transport
     * @param {import("./asker.js").Asker} asker
     * @param {import("./storage.js").Kept} kept
     * @param {number} most of so many that wait the oldest are dropped
     */
    constructor(transport: import("./transport.js").Transport, asker: import("./asker.js").Asker, kept: import("./storage.js").Kept, most: number);
    transport: import("./transport.js").Transport;
    asker: import("./asker.js").Asker;
    kept: import("./storage.js").Kept;
    most: number;
    sent: number;
    /** Outcomes that were not told: too many waited, or the service refused them. */
    dropped: number;
    failures: number;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    timer: ReturnType<typeof setTimeout> | undefined;
    /** @type {Promise<boolean> | undefined} */
    sending: Promise<boolean> | undefined;
    /** @returns {Item[]} */
    items(): Item[];
    /** @param {Item[]} items */
    keep(items: Item[]): void;
    /** Put an outcome in; it is told in a moment. @param {Item} item */
    put(item: Item): void;
    /** Tell all that waits, now. @returns {Promise<boolean>} whether nothing is left */
    flush(): Promise<boolean>;
    /** The page goes away: the browser tells what is left. It stays in the storage until the service has answered. */
    leave(): void;
    /** @param {number} delayMs */
    schedule(delayMs: number): void;
    send(): Promise<boolean>;
    /** @param {Item[]} batch @param {import("./asker.js").Who} who @param {boolean} [renewed] with a token made anew */
    sendBatch(batch: Item[], who: import("./asker.js").Who, renewed?: boolean): Promise<void>;
    /**
     * What waits, by who tells it: what a visitor was asked for is the visitor's, also once somebody has signed in.
     *
     * @param {import("./asker.js").Who} who
     * @returns {{who: import("./asker.js").Who, items: Item[]}[]}
     */
    shares(who: import("./asker.js").Who): {
        who: import("./asker.js").Who;
        items: Item[];
    }[];
    /**
     * Drop what is nobody's share: its customer is signed in no more, so nobody can tell it.
     *
     * @param {{items: Item[]}[]} shares
     */
    forgetOthers(shares: {
        items: Item[];
    }[]): void;
    /** @param {Item[]} told */
    remove(told: Item[]): void;
    /** @param {Item[]} batch @param {import("./asker.js").Who} who */
    body(batch: Item[], who: import("./asker.js").Who): {
        items: {
            decision_id: string;
            offer_id: string;
            outcome: "presented" | "clicked" | "accepted" | "rejected";
            occurred_at: string;
        }[];
        visitor_id: string;
    } | {
        items: {
            decision_id: string;
            offer_id: string;
            outcome: "presented" | "clicked" | "accepted" | "rejected";
            occurred_at: string;
        }[];
        customer_token: string;
    };
    /** @param {number} count @param {string} why */
    drop(count: number, why: string): void;
}
export type Item = {
    decision_id: string;
    offer_id: string;
    outcome: "presented" | "clicked" | "accepted" | "rejected";
    occurred_at: string;
    /**
     * name of who was asked for
     */
    who: string;
};

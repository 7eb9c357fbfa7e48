/** @param {Who} who @returns {string} a name for who it is, without saying so */
export function nameOf(who: Who): string;
/** @typedef {{visitor_id: string} | {customer_token: string}} Who */
export class Asker {
    /**
     * @param {import("./storage.js").Kept} kept where the visitor's id is kept
     * @param {(() => Promise<string | null> | string | null) | undefined} fetchToken gives a token of the shop's back end,
     *   or null while nobody is signed in
     */
    constructor(kept: import("./storage.js").Kept, fetchToken: (() => Promise<string | null> | string | null) | undefined);
    kept: import("./storage.js").Kept;
    fetchToken: (() => Promise<string | null> | string | null) | undefined;
    /** @type {string | null} */
    token: string | null;
    /** The visitor's id: made once, and kept by the browser. */
    get visitorId(): string;
    /**
     * Find out who asks now. Throws `Unavailable`.
     *
     * @param {{renew?: boolean}} [options] `renew`: whatever token there is was refused
     * @returns {Promise<Who>}
     */
    who({ renew }?: {
        renew?: boolean;
    }): Promise<Who>;
    /** Who asked last, at once, for a page that goes away. @returns {Who} */
    known(): Who;
    /** Forget the customer: somebody signed in or out. */
    forget(): void;
}
export type Who = {
    visitor_id: string;
} | {
    customer_token: string;
};

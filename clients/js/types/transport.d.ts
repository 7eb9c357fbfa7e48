/** The service said no, and would say so again. */
export class Refused extends Error {
    /** @param {number} status @param {string} detail */
    constructor(status: number, detail: string);
    status: number;
}
/** The service did not answer in time, however often it was asked. */
export class Unavailable extends Error {
    /** @param {string} reason */
    constructor(reason: string);
}
/**
 * @typedef {object} Patience
 * @property {number} attempts how often a request is made at most
 * @property {number} timeoutMs all attempts and pauses together take no longer
 * @property {number} firstPauseMs pauses are random, at most this after the first attempt, then twice as long each time
 */
export class Transport {
    /**
     * @param {string} url address of the service
     * @param {string} key a publishable key
     * @param {Patience} patience
     */
    constructor(url: string, key: string, patience: Patience);
    url: string;
    key: string;
    patience: Patience;
    /** @param {string} what `decisions` or `feedback` */
    address(what: string): string;
    /**
     * Send a body until it is answered. Throws `Refused` and `Unavailable`.
     *
     * @param {string} what
     * @param {object} body
     * @param {{keepalive?: boolean}} [options] `keepalive`: goes on though the page goes away
     * @returns {Promise<any>}
     */
    post(what: string, body: object, { keepalive }?: {
        keepalive?: boolean;
    }): Promise<any>;
    /**
     * Hand a body to the browser, which sends it though the page goes away. Nobody learns whether it arrives.
     *
     * @param {string} what
     * @param {object} body
     * @returns {boolean} whether the browser took it
     */
    beacon(what: string, body: object): boolean;
}
export type Patience = {
    /**
     * how often a request is made at most
     */
    attempts: number;
    /**
     * all attempts and pauses together take no longer
     */
    timeoutMs: number;
    /**
     * pauses are random, at most this after the first attempt, then twice as long each time
     */
    firstPauseMs: number;
};

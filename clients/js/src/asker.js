/** Who asks: the customer whom the shop's token names, or a visitor whom nobody knows. */

import { randomId } from "./storage.js";
import { Unavailable } from "./transport.js";

/** A token is replaced when it has less than this left. */
const SPARE_S = 30;

/** @typedef {{visitor_id: string} | {customer_token: string}} Who */

export class Asker {
  /**
   * @param {import("./storage.js").Kept} kept where the visitor's id is kept
   * @param {(() => Promise<string | null> | string | null) | undefined} fetchToken gives a token of the shop's back end,
   *   or null while nobody is signed in
   */
  constructor(kept, fetchToken) {
    this.kept = kept;
    this.fetchToken = fetchToken;
    /** @type {string | null} */
    this.token = null;
  }

  /** The visitor's id: made once, and kept by the browser. */
  get visitorId() {
    let found = this.kept.get("visitor");
    if (found === null || !/^[A-Za-z0-9_-]{16,64}$/.test(found)) {
      found = randomId();
      this.kept.set("visitor", found);
    }
    return found;
  }

  /**
   * Find out who asks now. Throws `Unavailable`.
   *
   * @param {{renew?: boolean}} [options] `renew`: whatever token there is was refused
   * @returns {Promise<Who>}
   */
  async who({ renew = false } = {}) {
    if (renew || this.token === null || secondsLeft(this.token) < SPARE_S) {
      try {
        this.token = (await this.fetchToken?.()) ?? null;
      } catch (error) {
        throw new Unavailable(`customerToken: ${error}`);
      }
    }
    return this.known();
  }

  /** Who asked last, at once, for a page that goes away. @returns {Who} */
  known() {
    return this.token === null ? { visitor_id: this.visitorId } : { customer_token: this.token };
  }

  /** Forget the customer: somebody signed in or out. */
  forget() {
    this.token = null;
  }
}

/** @param {Who} who @returns {string} a name for who it is, without saying so */
export function nameOf(who) {
  return "visitor_id" in who ? "visitor" : `customer ${subject(who.customer_token)}`;
}

/** @param {string} token @returns {Record<string, any>} */
function claims(token) {
  try {
    const part = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
  } catch {
    return {};
  }
}

/** @param {string} token */
function secondsLeft(token) {
  const ends = claims(token).exp;
  // One that this page cannot read is for the service to judge.
  return typeof ends === "number" ? ends - Date.now() / 1000 : Infinity;
}

/** @param {string} token */
function subject(token) {
  return String(claims(token).sub ?? token);
}

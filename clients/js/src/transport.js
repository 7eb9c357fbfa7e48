/** Requests with time-outs and retries. Each may be sent again: the service counts it once. */

/** Statuses after which the same request may succeed. */
const AGAIN = new Set([408, 425, 429, 500, 502, 503, 504]);

/** The service said no, and would say so again. */
export class Refused extends Error {
  /** @param {number} status @param {string} detail */
  constructor(status, detail) {
    super(`${status}: ${detail}`);
    this.name = "Refused";
    this.status = status;
  }
}

/** The service did not answer in time, however often it was asked. */
export class Unavailable extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.name = "Unavailable";
  }
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
  constructor(url, key, patience) {
    this.url = url.replace(/\/+$/, "");
    this.key = key;
    this.patience = patience;
  }

  /** @param {string} what `decisions` or `feedback` */
  address(what) {
    return `${this.url}/public/v1/${what}?key=${encodeURIComponent(this.key)}`;
  }

  /**
   * Send a body until it is answered. Throws `Refused` and `Unavailable`.
   *
   * @param {string} what
   * @param {object} body
   * @param {{keepalive?: boolean}} [options] `keepalive`: goes on though the page goes away
   * @returns {Promise<any>}
   */
  async post(what, body, { keepalive = false } = {}) {
    const ends = performance.now() + this.patience.timeoutMs;
    let reason = "there was no time to ask";
    for (let attempt = 0; attempt < this.patience.attempts; attempt += 1) {
      const left = ends - performance.now();
      if (left <= 0) break;
      let wait = 0;
      try {
        const answer = await fetch(this.address(what), {
          method: "POST",
          // Text, so that the browser asks no preflight first.
          headers: { "Content-Type": "text/plain;charset=UTF-8" },
          body: JSON.stringify(body),
          credentials: "omit",
          keepalive,
          signal: AbortSignal.timeout(left),
        });
        if (answer.ok) return await answer.json();
        if (!AGAIN.has(answer.status)) throw await refusal(answer);
        reason = `answered ${answer.status}`;
        wait = Number(answer.headers.get("Retry-After")) * 1000 || 0;
      } catch (error) {
        if (error instanceof Refused) throw error;
        reason = String(error);
      }
      const pause = Math.max(wait, Math.random() * this.patience.firstPauseMs * 2 ** attempt);
      if (attempt + 1 === this.patience.attempts || performance.now() + pause >= ends) break;
      await new Promise((done) => setTimeout(done, pause));
    }
    throw new Unavailable(`${what}: ${reason}`);
  }

  /**
   * Hand a body to the browser, which sends it though the page goes away. Nobody learns whether it arrives.
   *
   * @param {string} what
   * @param {object} body
   * @returns {boolean} whether the browser took it
   */
  beacon(what, body) {
    try {
      return navigator.sendBeacon(this.address(what), JSON.stringify(body));
    } catch {
      return false;
    }
  }
}

/** @param {Response} answer */
async function refusal(answer) {
  try {
    return new Refused(answer.status, (await answer.json()).detail);
  } catch {
    return new Refused(answer.status, answer.statusText);
  }
}

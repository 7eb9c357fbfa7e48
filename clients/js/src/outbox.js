/** Outcomes that wait to be told: in the session's storage, so that they outlive the page. */

import { Refused } from "./transport.js";
import { nameOf } from "./asker.js";

const DELAY_MS = 200;
const MAX_PAUSE_MS = 30_000;
/** So many are told at once: the service takes no more. */
const BATCH_SIZE = 50;
const NAME = "outbox";

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
  constructor(transport, asker, kept, most) {
    this.transport = transport;
    this.asker = asker;
    this.kept = kept;
    this.most = most;
    this.sent = 0;
    /** Outcomes that were not told: too many waited, or the service refused them. */
    this.dropped = 0;
    this.failures = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** @type {Promise<boolean> | undefined} */
    this.sending = undefined;
    // What an earlier page left may have been told by its beacon, or not: told again, it counts once.
    if (this.items().length > 0) this.schedule(0);
    const leave = () => document.visibilityState === "hidden" && this.leave();
    document.addEventListener("visibilitychange", leave);
    window.addEventListener("pagehide", () => this.leave());
  }

  /** @returns {Item[]} */
  items() {
    try {
      const found = JSON.parse(this.kept.get(NAME) ?? "[]");
      return Array.isArray(found) ? found : [];
    } catch {
      return [];
    }
  }

  /** @param {Item[]} items */
  keep(items) {
    if (items.length === 0) this.kept.remove(NAME);
    else this.kept.set(NAME, JSON.stringify(items));
  }

  /** Put an outcome in; it is told in a moment. @param {Item} item */
  put(item) {
    const items = [...this.items(), item];
    const tooMany = Math.max(0, items.length - this.most);
    this.drop(tooMany, "too many wait");
    this.keep(items.slice(tooMany));
    this.schedule(DELAY_MS);
  }

  /** Tell all that waits, now. @returns {Promise<boolean>} whether nothing is left */
  async flush() {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.sending ??= this.send().finally(() => {
      this.sending = undefined;
    });
    return this.sending;
  }

  /** The page goes away: the browser tells what is left. It stays in the storage until the service has answered. */
  leave() {
    for (const { who, items } of this.shares(this.asker.known())) {
      for (let at = 0; at < items.length; at += BATCH_SIZE) {
        this.transport.beacon("feedback", this.body(items.slice(at, at + BATCH_SIZE), who));
      }
    }
  }

  /** @param {number} delayMs */
  schedule(delayMs) {
    this.timer ??= setTimeout(() => void this.flush(), delayMs);
  }

  async send() {
    try {
      for (;;) {
        const shares = this.shares(await this.asker.who());
        this.forgetOthers(shares);
        const next = shares.find(({ items }) => items.length > 0);
        if (next === undefined) break;
        await this.sendBatch(next.items.slice(0, BATCH_SIZE), next.who);
      }
      this.failures = 0;
    } catch {
      this.failures += 1;
      this.schedule(Math.min(MAX_PAUSE_MS, DELAY_MS * 2 ** this.failures) * (0.5 + Math.random() / 2));
    }
    return this.items().length === 0;
  }

  /** @param {Item[]} batch @param {import("./asker.js").Who} who @param {boolean} [renewed] with a token made anew */
  async sendBatch(batch, who, renewed = false) {
    let answers;
    try {
      answers = (await this.transport.post("feedback", this.body(batch, who), { keepalive: true })).items;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      if (error.status === 401 && "customer_token" in who && !renewed) {
        const now = await this.asker.who({ renew: true });
        // Of somebody else, or of nobody: whoever sends looks anew at what is whose.
        if (nameOf(now) === nameOf(who)) await this.sendBatch(batch, now, true);
        return;
      }
      if (error.status === 401) this.asker.forget();
      this.remove(batch);
      this.drop(batch.length, error.message);
      return;
    }
    const again = batch.filter((_, index) => answers[index].code === 503);
    const refused = answers.filter((/** @type {any} */ a) => a.status === "refused" && a.code !== 503);
    this.remove(batch.filter((item) => !again.includes(item)));
    this.sent += batch.length - again.length - refused.length;
    if (refused.length > 0) this.drop(refused.length, refused[0].reason);
    if (again.length > 0) throw new Error("some could not be stored");
  }

  /**
   * What waits, by who tells it: what a visitor was asked for is the visitor's, also once somebody has signed in.
   *
   * @param {import("./asker.js").Who} who
   * @returns {{who: import("./asker.js").Who, items: Item[]}[]}
   */
  shares(who) {
    const items = this.items();
    const tellers = "visitor_id" in who ? [who] : [{ visitor_id: this.asker.visitorId }, who];
    return tellers.map((teller) => ({ who: teller, items: items.filter((item) => item.who === nameOf(teller)) }));
  }

  /**
   * Drop what is nobody's share: its customer is signed in no more, so nobody can tell it.
   *
   * @param {{items: Item[]}[]} shares
   */
  forgetOthers(shares) {
    const kept = new Set(shares.flatMap(({ items }) => items.map(keyOf)));
    const items = this.items();
    const mine = items.filter((item) => kept.has(keyOf(item)));
    if (mine.length === items.length) return;
    this.keep(mine);
    this.drop(items.length - mine.length, "they are of somebody who is signed in no more");
  }

  /** @param {Item[]} told */
  remove(told) {
    const keys = new Set(told.map(keyOf));
    this.keep(this.items().filter((item) => !keys.has(keyOf(item))));
  }

  /** @param {Item[]} batch @param {import("./asker.js").Who} who */
  body(batch, who) {
    return { ...who, items: batch.map(({ who: _, ...item }) => item) };
  }

  /** @param {number} count @param {string} why */
  drop(count, why) {
    if (count === 0) return;
    this.dropped += count;
    console.warn(`nextbest: ${count} outcomes were not told: ${why}`);
  }
}

/** @param {Item} item */
function keyOf(item) {
  return `${item.decision_id} ${item.offer_id} ${item.outcome}`;
}

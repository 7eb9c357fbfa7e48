// Outcomes on their way, in the order in which they were told: what the service cannot take now is sent again until it does. Each counts once.
import { post } from "./api.js";
import { t } from "./i18n.js";
import { tell } from "./widgets.js";

const AGAIN_MS = 2000;
/** An answer that has not come after so long is taken for lost: the outcome is sent again, and counts once. */
const PATIENCE_MS = 10_000;
/** Kept with the tab, so that they are not lost when the page is loaded again. */
const KEPT = "nextbest.outbox";
const KEPT_REFUSED = "nextbest.refused";
/** The first one is on its way, or waits for its next try with all behind it. */
const queue = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]").map((outcome) => ({ outcome, waits: true }));
const taken = new Set();
let refused = JSON.parse(sessionStorage.getItem(KEPT_REFUSED) ?? "[]");
let timer = null;
let busy = false;
let watcher = () => null;

const keyOf = ({ decision_id: decision, offer_id: offer, outcome }) => `${decision} ${offer} ${outcome}`;

function changed() {
  sessionStorage.setItem(KEPT, JSON.stringify(queue.map((entry) => entry.outcome)));
  sessionStorage.setItem(KEPT_REFUSED, JSON.stringify(refused.filter((one) => !one.isSeen)));
  watcher({ waiting: queue.filter((entry) => entry.waits).length, refused });
}

/** Calls `watch` with how many outcomes wait, and with those that were refused later ({ outcome, reason, isSeen }), whenever that changes. */
export function watchOutbox(watch) {
  watcher = watch;
  changed();
  work();
}

/** Notes that somebody has read of an outcome that was refused later. */
export function putAway(one) {
  refused = refused.map((other) => (other === one ? { ...one, isSeen: true } : other));
  changed();
}

/** Statuses after which the same outcome may be taken: out of reach, signed out, signed in anew in another tab or as somebody else, too slow or too often. */
const LATER = [0, 401, 403, 408, 429];
const isLater = (error) => LATER.includes(error.status) || error.status >= 500;

/**
 * Sends an outcome. Returns whether it was taken; false: it waits, and is sent again; null: there is nothing to do, since
 * it was taken before, or is on its way. Throws what was refused.
 */
export function send(outcome) {
  const key = keyOf(outcome);
  if (taken.has(key) || queue.some((entry) => keyOf(entry.outcome) === key)) return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    queue.push({ outcome, waits: false, resolve, reject });
    changed();
    work();
  });
}

/** Sends what waits, unless that is done already. */
export async function work() {
  if (busy) return;
  busy = true;
  clearTimeout(timer);
  while (queue.length > 0) {
    const entry = queue[0];
    const given = new AbortController();
    const patience = setTimeout(() => given.abort(), PATIENCE_MS);
    try {
      await post("/v1/feedback", entry.outcome, {}, given.signal);
      taken.add(keyOf(entry.outcome));
      refused = refused.filter((one) => keyOf(one.outcome) !== keyOf(entry.outcome));
      entry.resolve?.(true);
    } catch (error) {
      if (isLater(error)) {
        for (const one of queue) {
          one.waits = true;
          one.resolve?.(false);
        }
        timer = setTimeout(work, AGAIN_MS);
        break;
      }
      refuse(entry, error);
    } finally {
      clearTimeout(patience);
    }
    queue.shift();
    changed();
  }
  busy = false;
  changed();
}

function refuse({ outcome, waits, reject }, error) {
  if (!waits) return reject(error);
  refused = [...refused.filter((one) => keyOf(one.outcome) !== keyOf(outcome)), { outcome, reason: error.message, isSeen: false }];
  tell(t("outcomeRefused", { offer: outcome.offer_id, reason: error.message }), "bad");
}

// Only the tab keeps them: whoever closes it is asked.
addEventListener("beforeunload", (event) => {
  if (queue.length > 0) event.preventDefault();
});

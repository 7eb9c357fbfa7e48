// Outcomes on their way: what the service cannot take now is sent again until it does. Each counts once.
import { post } from "./api.js";
import { t } from "./i18n.js";
import { tell } from "./widgets.js";

const AGAIN_MS = 2000;
const waiting = [];
let timer = null;
let tellCount = () => null;

/** Calls `tell` with the number of outcomes that wait, whenever it changes. */
export function watchOutbox(tell) {
  tellCount = tell;
  tell(waiting.length);
}

/** Statuses after which the same outcome may be taken: out of reach, signed out, too slow or too often. */
const LATER = [0, 401, 408, 429];
const isLater = (error) => LATER.includes(error.status) || error.status >= 500;

/** Sends an outcome. Returns whether it was taken; false: it waits, and is sent again. Throws what was refused. */
export async function send(outcome) {
  try {
    await post("/v1/feedback", outcome);
    return true;
  } catch (error) {
    if (!isLater(error)) throw error;
    waiting.push(outcome);
    tellCount(waiting.length);
    timer ??= setTimeout(again, AGAIN_MS);
    return false;
  }
}

async function again() {
  timer = null;
  while (waiting.length > 0) {
    try {
      await post("/v1/feedback", waiting[0]);
    } catch (error) {
      if (isLater(error)) {
        timer = setTimeout(again, AGAIN_MS);
        return;
      }
      tell(t("outcomeRefused", { offer: waiting[0].offer_id, reason: error.message }), "bad");
    }
    waiting.shift();
    tellCount(waiting.length);
  }
}

// Outcomes on their way: what the service cannot take now is sent again until it does. Each counts once.
import { post } from "./api.js";

const AGAIN_MS = 2000;
const waiting = [];
let timer = null;
let tellCount = () => null;

/** Calls `tell` with the number of outcomes that wait, whenever it changes. */
export function watchOutbox(tell) {
  tellCount = tell;
  tell(waiting.length);
}

const isLater = (error) => error.status === 0 || error.status === 503;

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
    }
    waiting.shift();
    tellCount(waiting.length);
  }
}

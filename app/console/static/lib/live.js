// The stream of what goes on now, and what was seen of it since the page was opened.
import { useEffect, useState } from "./ui.js";

const KEPT = 120;

/** Gives { now, history: [times, decisions, accepted], lost }: lost while the stream is broken. */
export function useLive() {
  const [state, setState] = useState({ now: null, history: [[], [], []], lost: false });
  useEffect(() => {
    const source = new EventSource("/v1/live");
    source.addEventListener("live", (event) => {
      const now = JSON.parse(event.data);
      const seen = [Date.parse(now.at) / 1000, now.decisions_per_s, now.feedback_per_s.accepted ?? 0];
      setState((old) => ({
        now,
        history: old.history.map((values, i) => [...values, seen[i]].slice(-KEPT)),
        lost: false,
      }));
    });
    source.onerror = () => setState((old) => ({ ...old, lost: true }));
    return () => source.close();
  }, []);
  return state;
}

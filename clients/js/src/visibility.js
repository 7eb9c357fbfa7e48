/** When an element has really been seen: half of it, or half of the window, for a second, in a window that is shown. */

const SHARE = 0.5;
export const SEEN_MS = 1000;

/**
 * Call `seen` once when an element has been seen.
 *
 * @param {Element} element
 * @param {() => void} seen
 * @param {number} [ms] for how long without a pause
 * @returns {() => void} stops looking
 */
export function whenSeen(element, seen, ms = SEEN_MS) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let inView = false;
  const check = () => {
    const visible = inView && document.visibilityState === "visible";
    if (visible && timer === undefined) {
      timer = setTimeout(() => {
        stop();
        seen();
      }, ms);
    } else if (!visible && timer !== undefined) {
      clearTimeout(timer);
      timer = undefined;
    }
  };
  const observer = new IntersectionObserver(
    (entries) => {
      const last = entries[entries.length - 1];
      const height = last.rootBounds?.height ?? window.innerHeight;
      // Of what is larger than the window, half can never be seen at once.
      const fills = last.intersectionRect.height >= SHARE * height;
      inView = last.isIntersecting && (last.intersectionRatio >= SHARE || fills);
      check();
    },
    { threshold: [0, 0.1, 0.25, SHARE, 0.75, 1] },
  );
  const stop = () => {
    observer.disconnect();
    document.removeEventListener("visibilitychange", check);
    clearTimeout(timer);
  };
  observer.observe(element);
  document.addEventListener("visibilitychange", check);
  return stop;
}

/**
 * Call `seen` once when an element has been seen.
 *
 * @param {Element} element
 * @param {() => void} seen
 * @param {number} [ms] for how long without a pause
 * @returns {() => void} stops looking
 */
export function whenSeen(element: Element, seen: () => void, ms?: number): () => void;
export const SEEN_MS: 1000;

// What can be said of two finished evaluations: whether they are about the same, and where their intervals tell them apart.

/** What must be the same, or figures of two runs are of different things. */
const SAME = ["placement", "reward", "slots"];

/** Why two results cannot be compared at all: a key of the dictionary; null if they can. */
export function obstacle(one, other) {
  const differs = SAME.find((name) => one[name] !== other[name]);
  if (differs) return `notComparable.${differs}`;
  if (Date.parse(one.from) > Date.parse(other.to) || Date.parse(other.from) > Date.parse(one.to)) return "notComparable.time";
  return null;
}

/** Whether two results are of the same decisions, as far as they say. */
export const isSameLog = (one, other) => ["from", "to", "decisions"].every((name) => one[name] === other[name]);

/**
 * What an estimator tells of two runs: { says: "refused" | "unclear" | "more" | "less", low, high }. `low` and `high`
 * bound the difference, one less other, and are there only where the intervals have nothing in common.
 */
export function difference(one, other) {
  if (!one || !other || [one.low, one.high, other.low, other.high].some((end) => end === null || end === undefined)) return { says: "refused" };
  const bounds = { low: one.low - other.high, high: one.high - other.low };
  if (bounds.low > 0) return { says: "more", ...bounds };
  if (bounds.high < 0) return { says: "less", ...bounds };
  return { says: "unclear" };
}

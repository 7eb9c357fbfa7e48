/** What is kept between pages, and in memory alone where a browser keeps nothing. */

const PREFIX = "nextbest:";

/** A store of texts that never fails. */
export class Kept {
  /** @param {() => Storage | undefined} open finds the browser's storage; may throw */
  constructor(open) {
    /** @type {Map<string, string>} */
    this.memory = new Map();
    try {
      const found = open();
      // Some browsers have a storage that refuses everything.
      found?.setItem(`${PREFIX}probe`, "1");
      found?.removeItem(`${PREFIX}probe`);
      this.storage = found;
    } catch {
      this.storage = undefined;
    }
  }

  /** @param {string} name @returns {string | null} */
  get(name) {
    try {
      const found = this.storage?.getItem(PREFIX + name);
      if (found != null) return found;
    } catch {
      // As if it were not there.
    }
    return this.memory.get(name) ?? null;
  }

  /** @param {string} name @param {string} value */
  set(name, value) {
    this.memory.set(name, value);
    try {
      this.storage?.setItem(PREFIX + name, value);
    } catch {
      // Full: memory has it for as long as this page lives.
    }
  }

  /** @param {string} name */
  remove(name) {
    this.memory.delete(name);
    try {
      this.storage?.removeItem(PREFIX + name);
    } catch {
      // Nothing to do.
    }
  }
}

/** Make an id of 32 hex digits that nobody can guess. */
export function randomId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");
}

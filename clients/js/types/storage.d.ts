/** Make an id of 32 hex digits that nobody can guess. */
export function randomId(): string;
/** A store of texts that never fails. */
export class Kept {
    /** @param {() => Storage | undefined} open finds the browser's storage; may throw */
    constructor(open: () => Storage | undefined);
    /** @type {Map<string, string>} */
    memory: Map<string, string>;
    storage: Storage | undefined;
    /** @param {string} name @returns {string | null} */
    get(name: string): string | null;
    /** @param {string} name @param {string} value */
    set(name: string, value: string): void;
    /** @param {string} name */
    remove(name: string): void;
}

"""Ids that callers gave to their decisions: a note of whose each is, so that nobody else may use it."""

from hashlib import blake2b

from storage.clock import DAY_MS

GRACE_MS = DAY_MS
"""How much longer than its reward window a decision is kept."""
OWNER_TTL_MS = 30 * DAY_MS
"""The least time for which it is remembered whose an own id is, and that a record was appended."""


def owner_ttl_ms(window_ms: int) -> int:
    """Return how long it is remembered whose an own id is: for longer than the decision waits for outcomes."""
    return max(OWNER_TTL_MS, window_ms + 2 * GRACE_MS)


def owner_note(bucket: int, customer_id: str, own_id: str) -> str:
    """Return what is remembered of whose an own id is, for up to ``owner_ttl_ms``: a digest, not the customer's id.

    Notes of earlier versions are ``<bucket> <customer>``. A digest has a blank in front, which no customer's id has.
    """
    return f"{bucket} {_owner_digest(customer_id, own_id)}"


def is_owner(note: str, customer_id: str, own_id: str) -> bool:
    """Return whether a note of whose an own id is, also one of an earlier version, is about this customer."""
    return note.partition(" ")[2] in (customer_id, _owner_digest(customer_id, own_id))


def _owner_digest(customer_id: str, own_id: str) -> str:
    return " " + blake2b(f"{own_id}\0{customer_id}".encode(), digest_size=16).hexdigest()

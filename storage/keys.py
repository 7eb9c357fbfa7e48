"""Every Redis key, and the only place where one is built.

All keys of a customer carry the hash tag of the customer's bucket, so one function call may touch them together, and a
cluster spreads buckets over its nodes.
"""

import re
from dataclasses import dataclass
from zlib import crc32

GENERATED_ID = re.compile(r"nb([0-9a-f]{3})-([0-9a-f]{32})")
EARLIEST_ID_MS = 1_577_836_800_000
"""2020-01-01"""
LATEST_ID_MS = 4_102_444_800_000
"""2100-01-01"""
HISTORY_ID = re.compile(r"past-[0-9a-f]{32}")
ALL_PROFILES = "nb:{b*}:profile:*"
"""A pattern of the keys of all cached profiles."""
ALL_EVENTS = "nb:{b*}:events:*"
"""A pattern of the keys of what all customers' events have made."""
POPULATION = "nb:population"
"""A hash: what is usual among all customers, by what is compared with it."""
FUNCTIONS = "nb:functions"
"""A hash: when each version of the function library was last used (Unix ms, by the server's clock)."""

ARCHIVER_FAILURE = "nb:archiver:failure"
"""The kind of error that the archiver met last, for a minute."""

PROBE = "nb:probe"
"""Never stored: whoever asks whether writes are taken would only replace it, and it is not there."""
WORKER = "nb:worker"
"""A hash: when a worker was at work last (``alive``, Unix ms)."""

WORKERS = "nb:workers:"
"""The beginning of a hash for each policy: when each worker that learns it said so last (Unix ms)."""

INSTALLATION = "nb:installation"
"""The id of the installation that a Redis database belongs to."""

DATABASE = "nb:database"
"""A mark of a Redis database, by which it is known wherever its data go."""

OUTBOXES = "nb:outboxes"
"""A set: the streams that triggers have delivered to."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of an installation with ``buckets`` buckets (fixed when it was installed)."""

    buckets: int

    def bucket(self, customer_id: str) -> int:
        """The bucket of a customer: ``crc32(customer_id) mod B``."""
        return crc32(customer_id.encode()) % self.buckets

    def profile(self, customer_id: str) -> str:
        """Read-through cache of the customer's profile."""
        return f"nb:{{b{self.bucket(customer_id)}}}:profile:{customer_id}"

    def contact(self, customer_id: str) -> str:
        """The customer's contacts inside the longest window."""
        return self.contacts(self.bucket(customer_id)) + customer_id

    def contacts(self, bucket: int) -> str:
        """The prefix of the keys of the contact histories in a bucket: the customer's id follows."""
        return f"nb:{{b{bucket}}}:contact:"

    def household(self, household_id: str) -> str:
        """The contacts of a household's members that limits per household may count."""
        return f"nb:{{b{self.bucket(household_id)}}}:household:{household_id}"

    def reservations(self, bucket: int) -> str:
        """The decisions that reserved contacts in households of a bucket, by when to look what became of them."""
        return f"nb:{{b{bucket}}}:reservations"

    def events(self, customer_id: str) -> str:
        """The state that the customer's events have made."""
        return f"nb:{{b{self.bucket(customer_id)}}}:events:{customer_id}"

    def event_ids(self, customer_id: str) -> str:
        """The ids of the customer's events of the last days, each of which counts once."""
        return f"nb:{{b{self.bucket(customer_id)}}}:event-ids:{customer_id}"

    def alias(self, visitor: str) -> str:
        """The customer whose alias a visitor is, and changes of contacts that the customer has to be told."""
        return self.aliases(self.bucket(visitor)) + visitor

    def aliases(self, bucket: int) -> str:
        """The prefix of the keys of the aliases in a bucket: the visitor's id follows."""
        return f"nb:{{b{bucket}}}:alias:"

    def handovers(self, bucket: int) -> str:
        """The aliases in a bucket whose contacts have changed since their customers were told."""
        return f"nb:{{b{bucket}}}:handovers"

    def absorbed(self, customer_id: str) -> str:
        """The aliases whose events and contacts have been added to a customer's."""
        return f"nb:{{b{self.bucket(customer_id)}}}:absorbed:{customer_id}"

    def unconfirmed(self, bucket: int) -> str:
        """The bucket's decisions that wait for a word that they were presented, by the time until which they do."""
        return f"nb:{{b{bucket}}}:unconfirmed"

    def log(self, bucket: int) -> str:
        """The stream of a bucket's decisions and outcomes."""
        return f"nb:{{b{bucket}}}:log"

    def log_copy(self, bucket: int) -> str:
        """A copy of that stream, while it is being made."""
        return f"nb:{{b{bucket}}}:log:copy"

    def pending(self, bucket: int) -> str:
        """The bucket's decisions that wait for outcomes, by the time at which their reward window ends."""
        return f"nb:{{b{bucket}}}:pending"

    def decision(self, bucket: int, decision_id: str) -> str:
        """A decision that waits for outcomes."""
        return self.decisions(bucket) + decision_id

    def decisions(self, bucket: int) -> str:
        """The prefix of the keys of the decisions in a bucket that wait for outcomes: the id follows."""
        return f"nb:{{b{bucket}}}:decision:"

    def mark(self, bucket: int, name: str) -> str:
        """A mark that something has been appended to the bucket's log already."""
        return f"nb:{{b{bucket}}}:mark:{name}"

    def withdrawal(self, bucket: int, decision_id: str) -> str:
        """A mark that a decision was withdrawn; its value is the time of the decision."""
        return f"nb:{{b{bucket}}}:withdrawn:{decision_id}"

    def whole(self, bucket: int) -> str:
        """A mark that Redis holds all it should of a bucket; it goes with everything else when Redis is emptied."""
        return f"nb:{{b{bucket}}}:whole"

    def owner(self, decision_id: str) -> str:
        """The owner of a decision with a caller's own id: bucket and digest, under the id's bucket."""
        return f"nb:{{b{self.bucket(decision_id)}}}:owner:{decision_id}"

    def capacity(self, capacity_id: str, period_id: str) -> str:
        """The pool of a capacity in a period; those of all periods share a slot."""
        return f"nb:{{cap:{capacity_id}}}:{period_id}"

    def arms(self, policy: str) -> str:
        """The arms of ``name@version``."""
        return f"nb:arms:{policy}"

    def changes(self, policy: str) -> str:
        """The stream of changes to the arms of ``name@version``; it lives in the same slot as the arms."""
        return f"nb:{{nb:arms:{policy}}}:changes"

    def lease(self, policy: str) -> str:
        """The lease of the model of ``name@version`` for its only trainer, with a token; in the slot of the model."""
        return f"nb:{{nb:arms:{policy}}}:lease"

    def fence(self, policy: str) -> str:
        """The newest token that was given to an owner of the model of ``name@version``."""
        return f"nb:{{nb:arms:{policy}}}:fence"


def generated_id(bucket: int, entropy: bytes) -> str:
    """Make a decision id that names its bucket: ``nb<bucket>-<32 hex digits>``. ``entropy``: 16 bytes."""
    return f"nb{bucket:03x}-{entropy.hex()}"


def timed_entropy(at_ms: int, entropy: bytes) -> bytes:
    """Make the entropy of a generated id: the time (Unix ms) in 6 bytes, and 10 random ones.

    So a look-up by the id knows where to look first. Earlier builds had 16 random bytes there: the time is a hint, and
    what is not found by it is looked for everywhere.
    """
    return at_ms.to_bytes(6, "big") + entropy[:10]


def time_of_generated(decision_id: str) -> int | None:
    """Find the time (Unix ms) that a generated id seems to name; ``None`` for other ids and impossible times."""
    match = GENERATED_ID.fullmatch(decision_id)
    at_ms = int(match[2][:12], 16) if match else 0
    return at_ms if EARLIEST_ID_MS <= at_ms < LATEST_ID_MS else None


def is_reserved(decision_id: str) -> bool:
    """Return whether callers may not use an id of this form: such ids are generated, or stand for imported history."""
    return any(form.fullmatch(decision_id) for form in (GENERATED_ID, HISTORY_ID))


def bucket_of_generated(decision_id: str) -> int | None:
    """Find the bucket that a generated id names; ``None`` for ids that are a caller's own."""
    match = GENERATED_ID.fullmatch(decision_id)
    return int(match[1], 16) if match else None

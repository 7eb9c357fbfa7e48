"""Contacts of households: read and reserved beside those of the customer, in the household's own bucket.

Members of a household may be in other buckets, so that no step can touch all of their contacts and the decision. A
decision with limits per household reserves its contacts there first, in one step, and is written only before a time;
what was reserved is compared with what became of it (``store_reservations``). Whatever is killed in between, contacts
that were decided are in the household's history, and those that were not leave it again.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from decisioning.log.codec import parse_history
from decisioning.model.decision import Contact
from storage.errors import RedisUnavailable
from storage.keys import Keys, bucket_of_generated
from storage.redis_pipe import Pipe, RedisReplyError

HOLD_MS = 10_000
"""So long after its contacts were reserved may a decision be written."""
ATTEMPTS_MS = 60_000
"""What was reserved so short a time ago under the same decision id does not count against another attempt at it."""


class NotedWrites(Protocol):
    """Keeps writes that were acknowledged, to tell them again to a server that may not know them."""

    def note(self, *command: Any) -> None: ...


def reservation_note(bucket: int, decision_id: str, household_id: str) -> str:
    """Write a reservation as it stands in the set of the household's bucket. ``bucket``: of the customer."""
    return f"{bucket} {decision_id} {household_id}"


class HouseholdContacts:
    """Reads and reserves contacts of households. Methods raise ``RedisUnavailable``."""

    def __init__(self, pipe: Pipe, keys: Keys, recent: NotedWrites) -> None:
        self._pipe = pipe
        self._keys = keys
        self._recent = recent

    async def read(self, household_id: str, decision_id: str, now_ms: int) -> list[Contact]:
        """Read a household's contacts in the order of time, without those of attempts at the decision itself."""
        try:
            reply = await self._pipe.call("ZRANGE", self._keys.household(household_id), 0, -1, "WITHSCORES")
        except RedisReplyError as error:
            raise RedisUnavailable(f"redis refused a read: {error}") from error
        return parse_history(reply, but_of=(decision_id, now_ms - ATTEMPTS_MS))

    async def reserve(
        self,
        household_id: str,
        note: tuple[int, str],
        now_ms: int,
        keep_ms: int,
        whole: str,
        offers: Sequence[Any],
        unchecked: Iterable[Any],
    ) -> list[bytes]:
        """Reserve the contacts of a decision if there is room for all of them: the reply of ``nb_reserve``.

        ``note``: the customer's bucket and the decision's id. ``whole``, ``offers``: as ``nb_decide`` takes them, with
        the limits per household; ``unchecked``: the same without these.
        """
        bucket = self._keys.bucket(household_id)
        keys = (*self._keys_of(household_id), self._keys.whole(bucket))
        head = (reservation_note(*note, household_id), note[1], now_ms, keep_ms, HOLD_MS)
        since_ms, count = now_ms - ATTEMPTS_MS, len(offers) // 6
        reply: list[bytes] = await self._pipe.function(
            "nb_reserve", keys, *head, whole, since_ms, count, *offers
        )
        if reply[0] == b"ok":
            self._recent.note("nb_reserve", keys, head, ("", since_ms, count), unchecked)
        return reply

    async def give_back(self, household_id: str, note: tuple[int, str], before: bytes) -> None:
        """Take away what was reserved for a decision, unless it was reserved again. ``before``: as it was replied."""
        arguments = (reservation_note(*note, household_id), before, note[1], "")
        await self._pipe.function("nb_settle_household", self._keys_of(household_id), *arguments)

    async def look_again(
        self, household_id: str, note: tuple[int, str], at_ms: int, *, was_withdrawn: bool
    ) -> None:
        """Note that what was reserved for a decision is to be compared with it, from ``at_ms`` on.

        Not before the time that its reservation gave it unless it ``was_withdrawn``: it may still be written.
        """
        # Of an own id another attempt may be about to be written as well.
        rule = "CH" if was_withdrawn and bucket_of_generated(note[1]) is not None else "GT"
        arguments = (reservation_note(*note, household_id), at_ms, rule, 0)
        await self._pipe.function("nb_keep_in_household", self._keys_of(household_id), *arguments)

    async def add(
        self, household_id: str, note: tuple[int, str], at_ms: int, member: bytes, keep_ms: int
    ) -> None:
        """Add a contact that had been given back."""
        keys = self._keys_of(household_id)
        arguments = (reservation_note(*note, household_id), "", "", keep_ms, at_ms, member)
        await self._pipe.function("nb_keep_in_household", keys, *arguments)
        self._recent.note("nb_keep_in_household", keys, arguments)

    async def share(
        self, household_id: str, keep_ms: int, contacts: Sequence[tuple[int, Any]], gone: Sequence[Any] = ()
    ) -> None:
        """Add contacts that no decision reserved here, ``(time, member)``, and take away those that are ``gone``.

        It may be repeated: each contact counts once.
        """
        keys = (self._keys.household(household_id),)
        arguments = (keep_ms, len(contacts), *(part for one in contacts for part in one), *gone)
        await self._pipe.function("nb_share", keys, *arguments)
        self._recent.note("nb_share", keys, arguments)

    def _keys_of(self, household_id: str) -> tuple[str, str]:
        return self._keys.household(household_id), self._keys.reservations(self._keys.bucket(household_id))

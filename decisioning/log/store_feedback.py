"""Outcomes, as Redis is told of them: those of a bucket in one call, and calls for several buckets in one write."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from decisioning.log.households.store_contacts import HouseholdContacts, NotedWrites
from decisioning.log.ports import OutcomeReply, TellOutcome
from storage.errors import RedisUnavailable
from storage.keys import Keys
from storage.redis_pipe import Pipe, RedisReplyError

MAX_IN_A_CALL = 32
"""Redis does nothing else while it records so many outcomes."""
MAX_AT_ONCE = 128
"""The most outcomes in one write, so that what other requests ask of Redis does not wait for long."""


class OutcomeWriter:
    """Records outcomes of decisions that wait for them.

    ``hand_over`` adds contacts of an alias to those of its customer: awaited before what made them is acknowledged.
    """

    def __init__(
        self,
        pipe: Pipe,
        keys: Keys,
        recent: NotedWrites,
        households: HouseholdContacts,
        hand_over: Callable[[str], Awaitable[None]],
    ) -> None:
        self._pipe = pipe
        self._keys = keys
        self._recent = recent
        self._households = households
        self._hand_over = hand_over

    async def record(self, told: Sequence[TellOutcome]) -> list[OutcomeReply | RedisUnavailable]:
        """Record outcomes once each, those of a bucket in their order; in place of a reply stands why there is none."""
        found: dict[int, OutcomeReply | RedisUnavailable] = {}
        for calls in calls_at_once([one.bucket for one in told]):
            await self._record_at_once(
                [[(place, told[place]) for place in places] for places in calls], found
            )
        return [found[place] for place in range(len(told))]

    async def _record_at_once(
        self,
        calls: Sequence[Sequence[tuple[int, TellOutcome]]],
        found: dict[int, OutcomeReply | RedisUnavailable],
    ) -> None:
        """Make calls in one write. ``calls``: outcomes of one bucket each, with their places in ``found``."""
        commands = [
            (self._keys_of(call[0][1].bucket), [_arguments(one) for _, one in call]) for call in calls
        ]
        replies = await self._pipe.functions(
            "nb_feedback", [(keys, [*chain.from_iterable(each)]) for keys, each in commands]
        )
        followed = []
        for call, (keys, each), reply in zip(calls, commands, replies, strict=True):
            if isinstance(reply, RedisUnavailable):
                found.update((place, reply) for place, _ in call)
                continue
            # What was refused must not be told again: a server that knows less might take it.
            fresh = [a for a, one in zip(each, reply, strict=True) if _is_fresh(one)]
            if fresh:
                self._recent.note("nb_feedback", keys, *fresh)
            for (place, outcome), one in zip(call, reply, strict=True):
                if isinstance(one, RedisReplyError):
                    found[place] = self._pipe.refusal_of("nb_feedback", one)
                    continue
                found[place] = (one[0].decode(), one[1].decode() if len(one) > 1 else "")
                if len(one) > 3 or (len(one) == 3 and one[2] is not None):
                    followed.append((place, outcome, one))
        if followed:
            failures = await asyncio.gather(*(self._follow_up(outcome, one) for _, outcome, one in followed))
            for (place, _, _), failure in zip(followed, failures, strict=True):
                if failure is not None:
                    found[place] = failure

    async def _follow_up(self, told: TellOutcome, reply: Sequence[Any]) -> RedisUnavailable | None:
        """Do what an outcome leads to in other buckets, or return why that could not be done."""
        visitor, *again = reply[2:]
        try:
            if visitor is not None:
                await self._hand_over(visitor.decode())
            if again:
                household_id, contact_ms, member, keep_ms = again
                note = (told.bucket, told.decision_id)
                await self._households.add(household_id.decode(), note, int(contact_ms), member, int(keep_ms))
        except RedisUnavailable as error:
            return error
        return None

    def _keys_of(self, bucket: int) -> tuple[str, ...]:
        return (
            self._keys.decisions(bucket),
            self._keys.log(bucket),
            self._keys.contacts(bucket),
            self._keys.aliases(bucket),
            self._keys.handovers(bucket),
        )


def calls_at_once(buckets: Sequence[int]) -> Iterator[list[list[int]]]:
    """Divide outcomes, by their buckets, into calls, and yield those that are made at once: the outcomes' places."""
    by_bucket: dict[int, list[int]] = defaultdict(list)
    for place, bucket in enumerate(buckets):
        by_bucket[bucket].append(place)
    at_once: list[list[int]] = []
    count = 0
    for places in by_bucket.values():
        for first in range(0, len(places), MAX_IN_A_CALL):
            call = places[first : first + MAX_IN_A_CALL]
            if count + len(call) > MAX_AT_ONCE:
                yield at_once
                at_once, count = [], 0
            at_once.append(call)
            count += len(call)
    if at_once:
        yield at_once


def _is_fresh(reply: Any) -> bool:
    return isinstance(reply, list) and reply[0] in (b"recorded", b"late")


def _arguments(told: TellOutcome) -> tuple[str | int, ...]:
    """Write an outcome as ``nb_feedback`` takes it."""
    follows = told.follows
    return (
        told.decision_id,
        told.now_ms,
        told.offer_id,
        told.outcome,
        "" if told.value is None else repr(told.value),
        told.at_ms,
        told.skew_ms,
        follows.worth,
        follows.reason or "",
        ",".join(follows.causes),
        follows.suppress_ms,
    )

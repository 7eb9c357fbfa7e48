"""Outcomes that are told together lead to what they would lead to one by one: answers, log, decisions and contacts."""

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.ports import TellOutcome
from decisioning.log.store_redis import RedisLog
from decisioning.model.outcome import Consequences, DeclaredOutcome, Suppress, worth_text
from tests.support import contact_world as world

DECLARED = {
    o.outcome_id: o
    for o in (
        DeclaredOutcome("quoted", reward=0.3, place=50),
        DeclaredOutcome("activated", reward=3.0, place=200, terminal=True),
        DeclaredOutcome("complaint", reward=-10.0, suppress=(Suppress(3600),)),
    )
}
START_MS = 1_800_000_000_000
WINDOW_MS = 100_000
"""The reward window of the placement ``phone``."""
DECISIONS = {"one": ["news", "bill"], "two": ["gold"], "three": ["home", "news"]}
ITEMS = st.tuples(
    st.sampled_from([*DECISIONS, "nobody"]),
    st.sampled_from(["news", "bill", "gold", "home"]),
    st.sampled_from(["presented", "clicked", "accepted", "rejected", *DECLARED]),
    st.sampled_from([None, 2.5]),
    st.sampled_from([-SKEW_MS - 1, 0, 5, WINDOW_MS + 1]),
)
_numbers = itertools.count()


def outcome_of(
    log: RedisLog, who: str, now_ms: int, item: tuple[str, str, str, float | None, int]
) -> TellOutcome:
    """An item as the log is told of it, of the decisions of ``who``."""
    name, offer, outcome, value, after_ms = item
    causes = ("complaint",) if outcome == "complaint" else ()
    follows = Consequences(worth_text(outcome, DECLARED), None, causes, 3_600_000 if causes else 0)
    bucket = log.keys.bucket(f"{who}-{name}")
    return TellOutcome(
        bucket, f"{who}-{name}", offer, outcome, value, now_ms + after_ms, now_ms + 10, SKEW_MS, follows
    )


async def left_behind(log: RedisLog, who: str) -> dict[str, Any]:
    """What is in Redis of the decisions of ``who``, without their names and places in the log."""

    def nameless(value: Any) -> Any:
        if isinstance(value, list):
            return [nameless(one) for one in value]
        return value.replace(who.encode(), b"who") if isinstance(value, bytes) else value

    found: dict[str, Any] = {}
    for name in DECISIONS:
        own = f"{who}-{name}"
        bucket = log.keys.bucket(own)
        flat = await log.pipe.call("HGETALL", log.keys.decision(bucket, own))
        waiting = dict(zip(flat[::2], flat[1::2], strict=True))
        waiting.pop(b"x")
        history = await log.pipe.call("ZRANGE", log.keys.contact(own), 0, -1, "WITHSCORES")
        records = [
            fields
            for _, fields in await log.pipe.call("XRANGE", log.keys.log(bucket), "-", "+")
            if own.encode() in fields
        ]
        found[name] = nameless([sorted(map(list, waiting.items())), history, records])
    return found


async def told_of(
    url: str, items: Sequence[tuple[str, str, str, float | None, int]], *, together: bool
) -> tuple[list[Any], dict[str, Any]]:
    """Decide anew, and tell outcomes, all at once or one by one: the answers, and what is in Redis after that."""
    who = f"who-{next(_numbers)}-told"
    async with world.redis_log(url) as log:
        view = world.catalogue(policies={}).view("phone")
        for name, offers in DECISIONS.items():
            customer = world.customer(f"{who}-{name}")
            reply = await world.decide(
                log, view, customer, f"{who}-{name}", offers, START_MS, counts_silence=True
            )
            assert reply.written
        told = [outcome_of(log, who, START_MS, item) for item in items]
        if together:
            answers = await log.feedback(told)
        else:
            answers = [answer for one in told for answer in await log.feedback([one])]
        return list(answers), await left_behind(log, who)


@settings(deadline=None, max_examples=60)
@given(items=st.lists(ITEMS, min_size=1, max_size=40))
def test_together_is_as_one_by_one(redis_url: str, items: list[Any]) -> None:
    together, alone = (asyncio.run(told_of(redis_url, items, together=whole)) for whole in (True, False))
    assert together == alone

"""What outcomes earn, on the real functions of Redis, against a plain list of what was told."""

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from bandits.policy import FloatArray, PolicySpec
from bandits.registry import build_policy
from decisioning.learning.fold import fold_outcomes
from decisioning.log.codec import parse_entry
from decisioning.log.feedback_service import SKEW_MS
from decisioning.log.owners import GRACE_MS
from decisioning.log.store_redis import RedisLog
from decisioning.log.store_stream import LogReader, silences_of
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Consequences, DeclaredOutcome, Earned, Outcome, worth_text
from decisioning.model.position import StreamPosition
from storage.redis import make_redis
from tests.support import contact_world as world

DECLARED = {
    o.outcome_id: o
    for o in (
        DeclaredOutcome("clicked", reward=0.1, place=10),
        DeclaredOutcome("visited", reward=0.15, place=20),
        DeclaredOutcome("quoted", reward=0.3, place=50),
        DeclaredOutcome("activated", reward=3.0, place=200, terminal=True),
        DeclaredOutcome("withdrew", reward=-0.5, place=200, terminal=True),
        DeclaredOutcome("complaint", reward=-10.0),
        DeclaredOutcome("satisfied", reward=0.5),
    )
}
ALL = ("presented", "accepted", "rejected", *DECLARED)
OPPOSITE = {"accepted": "rejected", "rejected": "accepted"}
ALGORITHMS = ("thompson", "logistic_thompson", "linear_thompson")
START_MS = 1_800_000_000_000
_numbers = itertools.count()


def oracle(told: Sequence[str]) -> tuple[list[str], float]:
    """What each outcome is answered with, and what is earned in the end, in the words of the documentation."""
    answers: list[str] = []
    taken: list[str] = []
    place, placed, extra, ended = 0, 0.0, 0.0, False
    for outcome in told:
        known = DECLARED.get(outcome)
        stands = known.place if known else 100 if outcome in OPPOSITE else None
        reward = known.reward if known else float(outcome == "accepted")
        if outcome in taken:
            answers.append("duplicate")
            continue
        if OPPOSITE.get(outcome) in taken or (ended and stands is not None):
            answers.append("contradicts")
            continue
        answers.append("recorded")
        taken.append(outcome)
        if stands is None:
            extra += reward
        elif stands >= place:
            place, placed = stands, reward
        ended = ended or (known is not None and known.terminal)
    return answers, placed + extra


async def told_and_logged(
    url: str, channel: str, told: Sequence[str]
) -> tuple[list[str], list[Outcome], list[Outcome]]:
    """Decide, tell, close; returns the answers, and what the log says before and after it was closed."""
    number = next(_numbers)
    async with world.redis_log(url) as log:
        view, who = world.catalogue().view(channel), world.customer(f"earner-{number}")
        name, bucket, now = f"e{number}", log.keys.bucket(who.customer_id), START_MS + number * 1_000_000_000
        reply = await world.decide(log, view, who, name, ["news"], now, counts_silence=True)
        assert reply.written
        answers = []
        for n, outcome in enumerate(told, start=1):
            at_ms, worth = now + n * 100, worth_text(outcome, DECLARED)
            answer = await world.tell(
                log, bucket, name, "news", outcome, None, at_ms, at_ms, SKEW_MS, Consequences(worth)
            )
            answers.append(answer[0])
        open_log = await _outcomes(log, bucket, name)
        redis = make_redis(url)
        try:
            later = now + 900_000_000
            assert await LogReader(redis, log.keys).expire([(bucket, name)], later, GRACE_MS) == 1
        finally:
            await redis.aclose()
        return answers, open_log, await _outcomes(log, bucket, name)


async def _outcomes(log: RedisLog, bucket: int, name: str) -> list[Outcome]:
    found: list[Outcome] = []
    for position, flat in await log.pipe.call("XRANGE", log.keys.log(bucket), "-", "+"):
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if fields.get(b"id") == name.encode():
            entry = parse_entry(bucket, StreamPosition(position.decode()), fields)
            if isinstance(entry, LoggedDecision):
                found += silences_of(entry)
            elif isinstance(entry, list):
                found += entry
    return found


def folded(outcomes: Sequence[Outcome], spec: PolicySpec, rng: random.Random) -> Mapping[str, FloatArray]:
    """The sums of outcomes that are folded in batches of any size, without those that are zero."""
    policy, left, sums = build_policy(spec), list(outcomes), dict[str, FloatArray]()
    while left:
        size = rng.randrange(1, len(left) + 1)
        batch, left = left[:size], left[size:]
        for name, delta in fold_outcomes(batch, spec, policy)[0].items():
            sums[name] = sums[name] + delta if name in sums else delta
    return {name: total for name, total in sums.items() if total.any()}


def assert_same(one: Mapping[str, FloatArray], two: Mapping[str, FloatArray]) -> None:
    """Bit for bit."""
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name])


def spec_of(algorithm: str, **fields: Any) -> PolicySpec:
    """A policy that learns what is earned, from -10 to 4."""
    scales: dict[str, Any] = {"learn_from": "earned", "value_scale": 4.0, "loss_scale": 10.0}
    return replace(PolicySpec("p", 1, algorithm, {"half_life_days": 2.0}), **(scales | fields))


@pytest.mark.parametrize("channel", world.CHANNELS)  # shown with the decision; shown when somebody says so
@settings(max_examples=40, deadline=None)
@given(told=st.lists(st.sampled_from(ALL), max_size=7), seed=st.integers(0, 10**6))
def test_in_the_end_a_policy_has_learned_what_was_earned_and_nothing_else(
    redis_url: str, channel: str, told: list[str], seed: int
) -> None:
    answers, while_open, closed = asyncio.run(told_and_logged(redis_url, channel, told))
    expected, total = oracle(told)
    assert answers == expected
    first = next((o for o in while_open if o.outcome != "withdrawn"), None)
    rng = random.Random(seed)
    for algorithm in ALGORITHMS:
        spec = spec_of(algorithm)
        truth: list[Outcome] = []
        if first is not None:
            since_ms = first.decided_at_ms if channel == "web" else first.at_ms
            truth = [structs.replace(first, earned=Earned(None, total, since_ms, 0, total, 0.0))]
        for log in (while_open, closed):
            assert_same(folded(log, spec, rng), folded(truth, spec, rng))


@settings(max_examples=40, deadline=None)
@given(told=st.lists(st.sampled_from(ALL), max_size=7), channel=st.sampled_from(world.CHANNELS))
def test_a_policy_that_learns_acceptance_learns_of_others_only_that_the_offer_was_shown(
    redis_url: str, channel: str, told: list[str]
) -> None:
    _, _, closed = asyncio.run(told_and_logged(redis_url, channel, told))
    taken = [o.outcome for o in closed if o.outcome in ALL]
    spec = spec_of("thompson", learn_from="acceptance")
    sums = folded(closed, spec, random.Random(1))
    shown = channel == "web" or bool(taken)
    seen = [total for total in sums.values() if total.any()]
    assert bool(seen) == shown
    for total in seen:  # number of observations, and of acceptances, at the same weight
        assert total[1] == (total[0] if "accepted" in taken else 0.0)

"""A model that was taught fold by fold can be taught again from the log: the same model bit for bit."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from app.worker.learning.model_trainer import first_part
from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from bandits.river.pipeline_policy import RiverPolicy
from decisioning.evaluation.model_replay_service import ModelReplay, ReplayImpossible
from decisioning.learning.fold import in_order, teach_outcomes
from decisioning.learning.store_arms import GENERATION
from decisioning.log.store_stream import Batch
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition as At
from tests.support.logged import ACCEPTED

SPEC = PolicySpec(
    "r",
    1,
    "river",
    {"factory": "bandits.river_factories:logistic"},
    (Feature("age", "numeric", "customer.age"),),
)


POLICY = build_policy(SPEC)


assert isinstance(POLICY, RiverPolicy)


FIRST = 3 * GENERATION


BUCKETS = 3


class Log:
    """An archived log in memory."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes
        self.start: dict[int, At] | None = {}
        self.folds: list[tuple[int, int, At]] = []

    async def positions_at(self, policy: str, epoch: int, base: None) -> dict[int, At] | None:
        assert (policy, epoch) == (SPEC.key, FIRST)
        return self.start

    async def moves(self, policy: str, first: int, last: int) -> list[tuple[int, int, At]]:
        return [move for move in self.folds if first < move[0] <= last]

    async def in_order(
        self, up_to: Mapping[int, At], *, behind: Mapping[int, At] | None = None
    ) -> AsyncIterator[list[Outcome]]:
        for outcome in in_order(self.outcomes):
            at, start = outcome.position, At.START
            new = behind is None or at > behind.get(outcome.bucket, start)
            if new and at <= up_to.get(outcome.bucket, start):
                yield [outcome]


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    """Outcomes of several buckets whose times are not in the order of their positions; some share an entry."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    made: list[Outcome] = []
    for bucket in range(BUCKETS):
        at = 0
        for _ in range(draw(st.integers(0, 25))):
            at += int(rng.integers(0, 3))
            made.append(
                structs.replace(
                    ACCEPTED,
                    bucket=bucket,
                    position=At(f"{1 + at}-{at % 2}"),
                    offer=1 + len(made) % 4,
                    at_ms=ACCEPTED.decided_at_ms + int(rng.integers(0, 5)),
                    reward=float(rng.random() < 0.5),
                    facts={"customer.age": float(rng.normal())},
                )
            )
    return made


def taught_live(log: Log, cuts: Sequence[int], at_once: int) -> dict[int, bytes]:
    """Teach as the owner does: what was read up to each cut, a part after the other. Returns the model by epoch."""
    assert isinstance(POLICY, RiverPolicy)
    model, positions, epoch = POLICY.fresh(), dict.fromkeys(range(BUCKETS), At.START), FIRST
    base = [o for o in log.outcomes if o.position.at_ms <= cuts[0]]
    teach_outcomes(in_order(base), SPEC, POLICY, model)
    for o in base:
        positions[o.bucket] = max(positions[o.bucket], o.position)
    log.start, log.folds = dict(positions), []
    models = {epoch: POLICY.pack(model)}
    for cut in cuts[1:]:
        while True:
            new = [o for o in log.outcomes if positions[o.bucket] < o.position and o.position.at_ms <= cut]
            if not new:
                break
            last = {o.bucket: o.position for o in sorted(new, key=lambda o: o.position)}
            part = first_part(Batch(last, [], new), at_once)
            teach_outcomes(in_order(part.outcomes), SPEC, POLICY, model)
            epoch += 1
            positions.update(part.last)
            log.folds += [(epoch, bucket, position) for bucket, position in part.last.items()]
            models[epoch] = POLICY.pack(model)
    return models


@settings(max_examples=25)
@given(outcomes(), st.lists(st.integers(0, 60), min_size=1, max_size=5), st.integers(1, 20))
def test_the_model_of_every_epoch_is_taught_again(
    found: list[Outcome], cuts: list[int], at_once: int
) -> None:
    assert isinstance(POLICY, RiverPolicy)
    log = Log(found)
    models = taught_live(log, sorted(cuts), at_once)
    for epoch, blob in models.items():
        again = asyncio.run(ModelReplay(log, SPEC, POLICY).model_at(epoch))
        assert POLICY.pack(again) == blob


def test_the_order_matters() -> None:
    """Else nothing of this would be needed."""
    assert isinstance(POLICY, RiverPolicy)
    some = [
        structs.replace(
            ACCEPTED, at_ms=ACCEPTED.at_ms + n, reward=float(n % 2), facts={"customer.age": float(n)}
        )
        for n in range(6)
    ]
    one, other = POLICY.fresh(), POLICY.fresh()
    teach_outcomes(some, SPEC, POLICY, one)
    teach_outcomes(some[::-1], SPEC, POLICY, other)
    assert POLICY.pack(one) != POLICY.pack(other)


def test_what_is_not_archived_cannot_be_taught_again() -> None:
    assert isinstance(POLICY, RiverPolicy)
    log = Log([structs.replace(ACCEPTED, bucket=0, position=At(f"{n}-0")) for n in range(1, 10)])
    log.start = {0: At("3-0")}
    log.folds = [(FIRST + 1, 0, At("5-0")), (FIRST + 3, 0, At("9-0"))]
    for epoch in (FIRST + 2, FIRST + 3):
        with pytest.raises(ReplayImpossible, match="not archived"):
            asyncio.run(ModelReplay(log, SPEC, POLICY).model_at(epoch))
    log.start = None
    with pytest.raises(ReplayImpossible, match="not archived"):
        asyncio.run(ModelReplay(log, SPEC, POLICY).model_at(FIRST))


@pytest.mark.parametrize("start", ["9-0", "0-0"])
def test_too_many_lessons_are_refused(start: str) -> None:
    assert isinstance(POLICY, RiverPolicy)
    log = Log([structs.replace(ACCEPTED, bucket=0, position=At(f"{n}-0")) for n in range(1, 10)])
    log.start = {0: At(start)}
    log.folds = [(FIRST + 1, 0, At("9-0"))]
    asyncio.run(ModelReplay(log, SPEC, POLICY, most=9).model_at(FIRST + 1))
    with pytest.raises(ReplayImpossible, match="more than 8 outcomes"):
        asyncio.run(ModelReplay(log, SPEC, POLICY, most=8).model_at(FIRST + 1))


def test_a_poisoned_outcome_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(POLICY, RiverPolicy)

    def observe(model: list[int], *_: object) -> None:
        model.append(len(model))
        if len(model) == 2:
            raise ValueError("no")

    monkeypatch.setattr(POLICY, "observe", observe)
    model: list[int] = []
    taught, failures = teach_outcomes([ACCEPTED] * 3, SPEC, POLICY, model)
    assert (taught, model) == (3, [0, 1, 2])
    assert [str(failure) for failure in failures] == ["no"]

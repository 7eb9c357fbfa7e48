"""Replay from the log alone: what was decided comes again bit for bit, and what cannot be made again is refused."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from bandits.policy import PolicySpec
from bandits.state import ArmTable
from decisioning.catalog.catalogue import Catalogue
from decisioning.errors import NotFound
from decisioning.evaluation.model_replay_service import ReplayImpossible
from decisioning.evaluation.replay_service import (
    LoggedContexts,
    arms_at,
    logged_context,
    replay,
)
from decisioning.learning.fold import fold_outcomes
from decisioning.learning.replica import prepare
from decisioning.log.checkpoints import Checkpoint
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from decisioning.policies.roster import Roster
from tests.support.logged import (
    START_MS,
    catalogue_of,
    changed,
    decided_by,
    outcome_of,
    selection_context,
)

SPEC = PolicySpec("spring", 1, "thompson", {"epsilon": 0.4})
ROSTER = Roster([SPEC, PolicySpec("dice", 1, "random")])
EPOCH = 5
SHOP = catalogue_of([1, 2, 3, 4], slots=2)
VIEW = SHOP.view("home")


class Archived:
    """An archived log and the versions of the catalogue, in memory."""

    def __init__(self, decided: Sequence[LoggedDecision], outcomes: Sequence[Outcome] = ()) -> None:
        self.decided = {logged.decision_id: logged for logged in decided}
        self.outcomes = outcomes
        self.loaded: list[int | None] = []
        self.shop = SHOP

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        return self.decided.get(decision_id)

    async def checkpoint(self, policy: str, epoch: int) -> Checkpoint | None:
        return None

    async def dropped(self) -> dict[int, StreamPosition]:
        return {}

    async def positions_at(
        self, policy: str, epoch: int, base: Checkpoint | None
    ) -> dict[int, StreamPosition] | None:
        return {0: StreamPosition("9-0")} if epoch <= EPOCH else None

    async def observations(
        self,
        up_to: Mapping[int, StreamPosition] | None = None,
        *,
        behind: Mapping[int, StreamPosition],
    ) -> AsyncIterator[list[Outcome]]:
        assert (up_to, behind) == ({0: "9-0"}, {})
        yield list(self.outcomes)

    async def load(self, version: int | None = None) -> Catalogue:
        self.loaded.append(version)
        return self.shop


def log_of(archived: Archived) -> Any:
    """As the log, and the catalogues, that replays read."""
    return archived


def experienced(n: int) -> tuple[list[Outcome], ArmTable]:
    """Outcomes of earlier decisions, and the arms that they make."""
    asked, policy = selection_context(VIEW, "before", START_MS), ROSTER[SPEC.key]
    logged = decided_by(asked, SPEC, policy, prepare(policy, ArmTable(policy.width), VIEW, START_MS))
    told = [
        structs.replace(
            outcome_of(logged, 1 + i % 4, float(i % 4 == 2)), policy=SPEC.key, decision_id=f"b{i}"
        )
        for i in range(n)
    ]
    table = ArmTable(ROSTER[SPEC.key].width, EPOCH)
    for name, delta in fold_outcomes(told, SPEC, ROSTER[SPEC.key])[0].items():
        table.add(name, delta)
    return told, table


def decided(name: str, table: ArmTable) -> LoggedDecision:
    """A decision of the policy with these arms, logged with everything that a replay compares."""
    asked = selection_context(VIEW, name, START_MS + 1000, np.array([0.1, 0.2, 0.3, 0.4], np.float32))
    logged = decided_by(asked, SPEC, ROSTER[SPEC.key], prepare(ROSTER[SPEC.key], table, VIEW, asked.now_ms))
    return changed(logged, epoch=EPOCH)


async def test_decisions_are_made_again_from_outcomes_alone() -> None:
    told, table = experienced(40)
    made = [decided(f"d{n}", table) for n in range(20)]
    archived = Archived(made, told)
    first_choices = set()
    for logged in made:
        again = await replay(logged.decision_id, log_of(archived), log_of(archived), ROSTER)
        assert [(o.offer_id, o.rank, o.probability) for o in again.replayed] == [
            (o.offer_id, o.rank, o.probability) for o in logged.decision.offers
        ]
        assert (again.policy, again.epoch, again.catalog_version) == (SPEC.key, EPOCH, 1)
        first_choices.add(again.replayed[0].offer_id)
    assert len(first_choices) > 1


async def test_one_bit_of_difference_is_told() -> None:
    told, table = experienced(40)
    logged = decided("d", table)
    archived = Archived([logged], told)
    exact = await replay("d", log_of(archived), log_of(archived), ROSTER)
    same = changed(logged, offers=tuple(exact.replayed))
    archived.decided["d"] = same
    assert (await replay("d", log_of(archived), log_of(archived), ROSTER)).identical
    probability = same.decision.offers[0].probability
    assert probability is not None
    other = structs.replace(same.decision.offers[0], probability=float(np.nextafter(probability, 2)))
    archived.decided["d"] = changed(same, offers=(other, *same.decision.offers[1:]))
    assert not (await replay("d", log_of(archived), log_of(archived), ROSTER)).identical


async def test_what_cannot_be_made_again_is_refused() -> None:
    _, table = experienced(4)
    logged = decided("d", table)
    with pytest.raises(NotFound, match="archived decision"):
        await replay("gone", log_of(Archived([])), log_of(Archived([])), ROSTER)
    for fields, words in (
        ({"source": "history"}, "was made elsewhere"),
        ({"epoch": EPOCH + 1}, r"epoch 6 of spring@1 is not archived \(yet\)"),
    ):
        archived = Archived([changed(logged, **fields)])
        with pytest.raises(ReplayImpossible, match=words):
            await replay("d", log_of(archived), log_of(archived), ROSTER)
    with pytest.raises(ReplayImpossible, match="made elsewhere, by spring@1"):
        await replay("d", log_of(Archived([logged])), log_of(Archived([])), Roster())


async def test_a_policy_without_arms_needs_no_positions() -> None:
    found = await arms_at(log_of(Archived([])), "dice@1", ROSTER, 10**6)
    assert isinstance(found, ArmTable)
    assert (found.epoch, list(found.fields())) == (10**6, [])


def test_the_context_is_that_of_the_candidates_then() -> None:
    _, table = experienced(4)
    propensities = np.array([np.nan, 0.25, 0.5, 0.75], np.float32)
    asked = selection_context(VIEW, "d", START_MS, propensities, np.array([True, False, True, True]))
    policy = ROSTER[SPEC.key]
    made = decided_by(asked, SPEC, policy, prepare(policy, table, VIEW, START_MS))
    found = logged_context(VIEW, changed(made, caller_choice=(4, 99, 1)))
    assert found.available.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found.base_propensities, [np.nan, np.nan, 0.5, 0.75])
    assert found.caller_choice == (3, 0)  # offers that are here no more are left out
    with pytest.raises(ReplayImpossible, match="lacks a candidate"):
        logged_context(catalogue_of([1, 2, 3]).view("home"), made)


async def test_there_is_no_context_of_what_was_decided_elsewhere_or_of_a_placement_that_is_gone() -> None:
    _, table = experienced(4)
    logged = decided("d", table)
    contexts = LoggedContexts(log_of(Archived([])))
    assert await contexts.of(logged) is not None
    assert await contexts.of(changed(logged, source="history")) is None
    assert await contexts.of(changed(logged, placement="gone")) is None

"""The arms in memory: what is prepared once, what is dropped, and the models of policies taught in one order.

That applied changes equal a full load, and that gaps are noticed, is in ``tests/properties/test_replica_laws.py``.
"""

from typing import Any

import numpy as np
import pytest

from bandits.algorithms.static_policy import RandomPolicy
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.conformance.scenarios import fingerprint
from bandits.errors import StateCodecError
from bandits.policy import Sums
from bandits.registry import build_policy
from bandits.sequential_policy import MODEL_FIELD, LearnedModel
from bandits.state import encode_state
from decisioning.learning.replica import ArmReplica
from tests.support.bandits_selection import specification, sums, view_of

DAY_MS = 86_400_000
TICK_MS = DAY_MS // 32
START_MS = 20_000 * DAY_MS  # the first millisecond of a tick, and of period 2500
VIEW = view_of([1, 2, 3])


class Taught(RandomPolicy):
    """A policy with a model, a text, that is prepared as it is."""

    sequential = True

    def fresh(self) -> str:
        return "fresh"

    def unpack(self, blob: bytes) -> str:
        return blob.decode()

    def prepare(self, sums: Sums) -> Any:
        return sums.model if isinstance(sums, LearnedModel) else "nothing"


class Watched(ThompsonPolicy):
    """Forgets half in a day, and notes the rows that it refreshes."""

    def __init__(self) -> None:
        super().__init__(specification("thompson", draws=8, half_life_days=1.0))
        self.refreshed: list[list[int]] = []

    def refresh(self, prepared: Any, sums: Sums, rows: Any) -> Any:
        self.refreshed.append(rows.tolist())
        return super().refresh(prepared, sums, rows)


def replica_of(policy: Any) -> ArmReplica:
    """A replica of one policy, ``p@1``."""
    return ArmReplica({"p@1": policy})


def test_a_value_is_prepared_once_for_a_view_and_a_tick() -> None:
    replica = replica_of(Watched())
    first = replica.prepared("p@1", VIEW, START_MS)
    assert replica.prepared("p@1", VIEW, START_MS + TICK_MS - 1) is first
    second = replica.prepared("p@1", VIEW, START_MS + TICK_MS)
    assert second is not first
    other = view_of([1, 2, 3])  # of another catalogue, with the same offers
    assert replica.prepared("p@1", other, START_MS + TICK_MS) is second
    assert replica.prepared("p@1", view_of([1, 2, 4]), START_MS + TICK_MS) is not second


def test_another_group_of_an_offer_is_prepared_anew_for_a_policy_that_learns_by_group() -> None:
    grouped = build_policy(specification("logistic_thompson", group_shrinkage=2.0, draws=8))
    for policy, anew in ((grouped, True), (Watched(), False)):
        replica = replica_of(policy)
        replica.load("p@1", 0, [])
        before = view_of([1, 2, 3], groups={1: "a", 2: "a", 3: "b"})
        after = view_of([1, 2, 3], groups={1: "a", 2: "b", 3: "b"})
        first = replica.prepared("p@1", before, START_MS)
        again = view_of([1, 2, 3], groups={1: "a", 2: "a", 3: "b"})  # of another catalogue
        assert replica.plan_ahead("p@1", again, START_MS) is None
        assert replica.prepared("p@1", again, START_MS) is first
        work = replica.plan_ahead("p@1", after, START_MS)
        assert (work is not None) == anew
        if work is not None:
            work.run()
        assert (replica.prepared("p@1", after, START_MS) is not first) == anew


def test_a_view_that_comes_is_prepared_ahead_and_what_changed_meanwhile_is_made_up_for() -> None:
    policy = Watched()
    replica, state = replica_of(policy), encode_state(np.ones(policy.width))
    replica.load("p@1", 5, [("1:2500", state)])
    old = replica.prepared("p@1", VIEW, START_MS)
    assert replica.in_use() == [("p@1", VIEW.placement.placement_id)]
    assert replica.plan_ahead("p@1", view_of([1, 2, 3]), START_MS) is None, "the same offers need nothing"
    new = view_of([1, 2, 4])
    work = replica.plan_ahead("p@1", new, START_MS)
    assert work is not None
    assert replica.prepared("p@1", VIEW, START_MS) is old
    assert replica.apply("p@1", 6, [("4:2500", state)])
    work.run()
    found = replica.prepared("p@1", new, START_MS)
    assert policy.refreshed == [[2]]
    fresh = replica_of(Watched())
    fresh.load("p@1", 6, [("1:2500", state), ("4:2500", state)])
    assert fingerprint(found) == fingerprint(fresh.prepared("p@1", new, START_MS))


def test_what_was_planned_and_not_done_in_time_is_prepared_as_before() -> None:
    policy = Watched()
    replica = replica_of(policy)
    replica.load("p@1", 5, [])
    assert replica.plan_ahead("p@1", VIEW, START_MS) is not None
    assert replica.prepared("p@1", VIEW, START_MS) is not None
    late = replica.plan_ahead("p@1", view_of([1, 2, 4]), START_MS)
    assert late is not None
    late.run()
    assert replica.prepared("p@1", view_of([7, 8]), START_MS) is not late.result.value
    replica.forget("p@1")
    assert replica.plan_ahead("p@1", VIEW, START_MS) is None, "arms that are not known yet are waited for"


def test_arms_of_this_process_alone_are_refreshed_without_a_new_epoch() -> None:
    policy = Watched()
    replica = replica_of(policy)
    replica.load("p@1", 4, [])
    before = fingerprint(replica.prepared("p@1", VIEW, START_MS))
    replica.add("p@1", {"2:2500": sums(50.0, 40.0, 5.0), "7:2500": sums(1.0, 1.0, 0.1)})
    assert fingerprint(replica.prepared("p@1", VIEW, START_MS)) != before
    assert policy.refreshed == [[1]]  # offer 7 is not in the view
    assert replica.epoch("p@1") == 4


def test_forgotten_arms_are_cold_and_their_epoch_is_unknown() -> None:
    replica = replica_of(Watched())
    cold = fingerprint(replica.prepared("p@1", VIEW, START_MS))
    replica.load("p@1", 3, [("1:2500", encode_state(sums(50.0, 40.0, 5.0)))])
    assert fingerprint(replica.prepared("p@1", VIEW, START_MS)) != cold
    replica.forget("p@1")
    assert (replica.epoch("p@1"), replica.table("p@1")) == (None, None)
    assert fingerprint(replica.prepared("p@1", VIEW, START_MS)) == cold


def test_arms_that_cannot_be_read_do_not_replace_those_loaded_before() -> None:
    replica = replica_of(Watched())
    replica.load("p@1", 3, [("1:0", encode_state(sums(1.0, 1.0, 0.1)))])
    with pytest.raises(StateCodecError):
        replica.load("p@1", 4, [("1:0", b"short")])
    assert replica.epoch("p@1") == 3


def test_a_model_is_fresh_where_nothing_is_stored_and_unpacked_where_it_is() -> None:
    replica = replica_of(Taught(specification("random")))
    assert replica.epoch("p@1") is None
    assert replica.prepared("p@1", VIEW, START_MS) == "nothing"
    replica.load("p@1", 0, [])
    assert replica.prepared("p@1", VIEW, START_MS) == "fresh"
    replica.load("p@1", 2, [(MODEL_FIELD, b"stored")])
    assert replica.prepared("p@1", VIEW, START_MS) == "stored"
    replica.adopt("p@1", 5, "adopted")
    assert (replica.epoch("p@1"), replica.prepared("p@1", VIEW, START_MS)) == (5, "adopted")


def test_a_fold_that_changes_a_model_has_to_be_read_and_one_that_changes_nothing_counts() -> None:
    replica = replica_of(Taught(specification("random")))
    replica.adopt("p@1", 5, "model")
    assert not replica.apply("p@1", 6, [(MODEL_FIELD, b"other")])
    assert not replica.apply("p@1", 7, [])
    assert replica.epoch("p@1") == 5
    assert replica.apply("p@1", 6, [])
    assert (replica.epoch("p@1"), replica.prepared("p@1", VIEW, START_MS)) == (6, "model")


def test_what_could_not_be_refreshed_is_prepared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Watched()
    replica = replica_of(policy)
    replica.load("p@1", 1, [("1:2500", encode_state(np.ones(policy.width)))])
    first = replica.prepared("p@1", VIEW, START_MS)
    assert replica.apply("p@1", 2, [("1:2500", encode_state(2 * np.ones(policy.width)))])
    with monkeypatch.context() as patch:
        patch.setattr(policy, "refresh", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            replica.prepared("p@1", VIEW, START_MS)
    again = replica.prepared("p@1", VIEW, START_MS)
    assert policy.refreshed == []
    assert fingerprint(again) != fingerprint(first)

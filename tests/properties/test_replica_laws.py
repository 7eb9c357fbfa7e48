"""Arms in memory: whatever changes, in whatever order, they are as if everything had been loaded anew."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bandits.algorithms.beta_arms import DAY_S
from bandits.algorithms.static_policy import RandomPolicy
from bandits.algorithms.thompson import ThompsonPolicy
from bandits.conformance.scenarios import fingerprint
from bandits.errors import StateCodecError
from bandits.policy import Candidates, Observation, Policy
from bandits.registry import build_policy
from bandits.state import ArmTable, fold_observations
from decisioning.learning.replica import ArmReplica
from tests.support.bandits_pooled import PooledPolicy
from tests.support.bandits_selection import specification, view_of

POLICY = ThompsonPolicy(specification("thompson", half_life_days=1.0, draws=8))
OTHER = ThompsonPolicy(specification("thompson", draws=8))
SHARING = PooledPolicy(specification("pooled"))
GROUPED = build_policy(
    specification(
        "calibrated",
        group_shrinkage=2.0,
        pool_evidence=True,
        weigh_features=True,
        half_life_days=1.0,
        draws=8,
    )
)
POLICIES: dict[str, Policy] = {
    "g@1": GROUPED,
    "t@1": POLICY,
    "o@1": OTHER,
    "s@1": SHARING,
    "r@1": RandomPolicy(specification("random")),
}
VIEWS = [
    view_of([1, 2, 3, 5], groups={1: "a", 2: "b", 3: "a", 5: "c"}),
    view_of([1, 2, 3, 5], groups={1: "a", 2: "a", 3: "b", 5: "c"}),  # the same offers in other groups
    view_of([2, 3, 4]),
    view_of([9]),
]
START_MS = 1_750_000_000_000
TICK_MS = int(DAY_S * 1000) // 32
Fields = list[tuple[str, bytes]]


@dataclass
class Learner:
    """The other side: holds the arms as they are stored, and says what each fold changed."""

    table: ArmTable
    policy: Policy = POLICY

    def fold(self, seen: list[tuple[Observation, float]]) -> Fields:
        deltas = fold_observations(self.policy, seen)
        for field, delta in deltas.items():
            self.table.add(field, delta)
        self.table.epoch += 1
        return [(field, blob) for field, blob in self.table.fields() if field in deltas]


def loaded_anew(learner: Learner, view: Any, now_ms: int, key: str = "t@1") -> Any:
    replica = ArmReplica(POLICIES)
    replica.load(key, learner.table.epoch, list(learner.table.fields()))
    return fingerprint(replica.prepared(key, view, now_ms))


outcomes = st.builds(
    Observation,
    offer=st.integers(1, 6),
    reward=st.sampled_from([0.0, 1.0]),
    base_propensity=st.floats(0, 1, width=32),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), st.lists(outcomes, max_size=4)),
        st.tuples(st.just("time"), st.integers(-2, 300)),
        st.tuples(st.just("view"), st.integers(0, 3)),
        st.tuples(st.just("load"), st.none()),
        st.tuples(st.just("look"), st.integers(0, 3)),
    ),
    max_size=25,
)


@settings(max_examples=300)
@given(st.sampled_from(["t@1", "s@1", "g@1"]), steps)
def test_applied_changes_equal_a_full_load(key: str, taken: list[tuple[str, Any]]) -> None:
    policy = POLICIES[key]
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(policy.width), policy)
    replica.load(key, 0, [])
    view, now_ms = VIEWS[0], START_MS
    for step, value in taken:
        if step == "fold":
            changed = learner.fold([(observation, now_ms / 1000) for observation in value])
            assert replica.apply(key, learner.table.epoch, changed)
        elif step == "time":
            now_ms += value * TICK_MS // 2
        elif step == "view":
            view = VIEWS[value]
        elif step == "load":
            replica.load(key, learner.table.epoch, list(learner.table.fields()))
        elif step == "look":
            looked = replica.prepared(key, VIEWS[value], now_ms)
            assert fingerprint(looked) == loaded_anew(learner, VIEWS[value], now_ms, key)
    assert replica.epoch(key) == learner.table.epoch
    assert fingerprint(replica.prepared(key, view, now_ms)) == loaded_anew(learner, view, now_ms, key)


def test_outcomes_of_offers_elsewhere_refresh_what_is_shared() -> None:
    """Offer 77 is not in the view, but what is learned from it is shared: then only the arm of all offers changed."""
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(SHARING.width), SHARING)
    replica.load("s@1", 0, [])
    before = fingerprint(replica.prepared("s@1", VIEWS[0], START_MS))
    assert replica.apply("s@1", 1, some_fold(learner, 77))
    after = replica.prepared("s@1", VIEWS[0], START_MS)
    assert fingerprint(after) != before
    assert fingerprint(after) == loaded_anew(learner, VIEWS[0], START_MS, "s@1")


def test_an_offer_that_changes_its_group_takes_along_what_was_learned() -> None:
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(GROUPED.width), GROUPED)
    replica.load("g@1", 0, [])
    assert replica.apply("g@1", 1, learner.fold([(Observation(2, 1.0, 0.3), START_MS / 1000)] * 20))
    candidates = Candidates(VIEWS[0].numbers, np.full(4, np.nan, dtype=np.float32), np.ones(4))
    before, after = (
        GROUPED.propensities(replica.prepared("g@1", view, START_MS), candidates) for view in VIEWS[:2]
    )
    assert before[0] == before[2] == before[3]  # nothing was learned of them, nor of others in their groups
    assert after[0] > before[0]  # offer 2 has come into the group of offer 1
    assert after[1] == pytest.approx(before[1])
    assert after[2] == before[2]


def some_fold(learner: Learner, offer: int = 2) -> Fields:
    return learner.fold([(Observation(offer, 1.0, 0.3), START_MS / 1000)])


def test_a_gap_is_noticed_and_changes_nothing() -> None:
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(POLICY.width))
    assert not replica.apply("t@1", 1, some_fold(learner))  # nothing was loaded yet
    assert replica.epoch("t@1") is None
    replica.load("t@1", learner.table.epoch, list(learner.table.fields()))
    before = fingerprint(replica.prepared("t@1", VIEWS[0], START_MS))
    missed, last = some_fold(learner), some_fold(learner, 3)
    assert not replica.apply("t@1", 3, last)
    assert replica.epoch("t@1") == 1
    assert fingerprint(replica.prepared("t@1", VIEWS[0], START_MS)) == before
    assert replica.apply("t@1", 2, missed)
    assert not replica.apply("t@1", 2, missed)  # twice is once
    assert replica.apply("t@1", 3, last)
    assert fingerprint(replica.prepared("t@1", VIEWS[0], START_MS)) == loaded_anew(
        learner, VIEWS[0], START_MS
    )


def test_a_change_that_cannot_be_read_changes_nothing() -> None:
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(POLICY.width))
    replica.load("t@1", 0, [])
    before = fingerprint(replica.prepared("t@1", VIEWS[0], START_MS))
    with pytest.raises(StateCodecError):
        replica.apply("t@1", 1, [*some_fold(learner), ("3:0", b"short")])
    assert replica.epoch("t@1") == 0
    assert dict(replica.table("t@1").fields()) == {}  # type: ignore[union-attr]  # it was loaded above
    assert fingerprint(replica.prepared("t@1", VIEWS[0], START_MS)) == before


def test_policies_do_not_share_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(POLICY.width))
    replica.load("t@1", 0, [])
    replica.load("o@1", 0, [])
    before = fingerprint(replica.prepared("o@1", VIEWS[0], START_MS))
    monkeypatch.setattr(OTHER, "refresh", None)  # calling it would fail
    assert replica.apply("t@1", 1, some_fold(learner))
    assert (replica.epoch("t@1"), replica.epoch("o@1")) == (1, 0)
    assert fingerprint(replica.prepared("o@1", VIEWS[0], START_MS)) == before


def test_only_what_changed_is_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, learner = ArmReplica(POLICIES), Learner(ArmTable(POLICY.width))
    replica.load("t@1", 0, [])
    replica.prepared("t@1", VIEWS[0], START_MS)
    monkeypatch.setattr(POLICY, "prepare", None)  # calling it would fail
    refreshed: list[list[int]] = []
    refresh = POLICY.refresh

    def watched(prepared: Any, sums: Any, rows: Any) -> Any:
        refreshed.append(sums.offers[rows].tolist())
        return refresh(prepared, sums, rows)

    monkeypatch.setattr(POLICY, "refresh", watched)
    assert replica.apply("t@1", 1, some_fold(learner, 2))
    assert replica.apply("t@1", 2, some_fold(learner, 5))
    assert replica.apply("t@1", 3, some_fold(learner, 77))  # not in this view
    for _ in range(3):
        replica.prepared("t@1", VIEWS[0], START_MS)
    assert refreshed == [[2, 5]]


def test_a_policy_that_learns_nothing_is_always_up_to_date() -> None:
    replica = ArmReplica(POLICIES)
    assert replica.epoch("r@1") == 0
    assert replica.prepared("r@1", VIEWS[0], START_MS) is None


def test_before_arms_are_loaded_all_are_cold() -> None:
    replica, cold = ArmReplica(POLICIES), Learner(ArmTable(POLICY.width))
    assert replica.table("t@1") is None
    assert fingerprint(replica.prepared("t@1", VIEWS[0], START_MS)) == loaded_anew(cold, VIEWS[0], START_MS)
    warm = Learner(ArmTable(POLICY.width))
    some_fold(warm)
    replica.load("t@1", 1, list(warm.table.fields()))
    assert np.any(replica.prepared("t@1", VIEWS[0], START_MS).ratio != 1.0)
    assert fingerprint(replica.prepared("t@1", VIEWS[0], START_MS)) == loaded_anew(warm, VIEWS[0], START_MS)

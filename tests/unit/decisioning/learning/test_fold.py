"""Learning of a policy from the log: which outcomes, as which rewards, with which facts."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from numpy.typing import NDArray

from bandits.algorithms.thompson import ThompsonPolicy
from bandits.features import NO_ENCODER, Encoder
from bandits.policy import Observation, PolicySpec
from decisioning.decide.facts import MAX_ITEMS, MAX_TEXT_CHARS, learnable
from decisioning.learning.fold import Observer, fold_outcomes
from decisioning.log.codec import facts_text, outcome_fields, parse_entry, parse_facts
from decisioning.model.deciders import CALLER, HISTORY
from decisioning.model.outcome import Outcome
from storage.clock import HOUR_MS
from tests.support.logged import ACCEPTED, DECIDED_MS

SPEC = PolicySpec("p", 1, "thompson")
POLICY = ThompsonPolicy(SPEC)


def learned(outcome: Outcome, **fields: Any) -> tuple[Observation, float] | None:
    """Return the observation and its time that a policy with these fields in its specification learns, if any."""
    return Observer(replace(SPEC, **fields), POLICY).observe(outcome)


def test_an_outcome_teaches_as_it_was() -> None:
    found = learned(ACCEPTED)
    assert found is not None
    seen, at_s = found
    assert (seen.offer, seen.reward, seen.base_propensity, seen.estimate) == (7, 1.0, 0.25, 0.125)
    assert seen.facts == ACCEPTED.facts
    assert at_s == (DECIDED_MS + HOUR_MS) / 1000


@pytest.mark.parametrize(
    ("policy", "by_caller"), [(CALLER, True), (HISTORY, False), ("caller@2", False), ("p@1", False)]
)
def test_only_what_the_caller_chose_is_the_callers(policy: str, by_caller: bool) -> None:
    outcome = structs.replace(ACCEPTED, policy=policy)
    pairs = zip(outcome_fields(outcome)[::2], outcome_fields(outcome)[1::2], strict=True)
    parsed = parse_entry(3, ACCEPTED.position, {name.encode(): value.encode() for name, value in pairs})
    assert isinstance(parsed, list)
    for one in (outcome, *parsed):
        found = learned(one)
        assert found is not None
        assert found[0].by_caller is by_caller


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"reward": None}, {}),  # nobody said that it was presented
        ({"late": True}, {}),
        ({}, {"placements": ("call",)}),
        ({}, {"learn_since_ms": DECIDED_MS + 1}),
        ({"worth": math.nan}, {"learn_from": "value", "value_scale": 100.0}),
    ],
)
def test_what_teaches_nothing(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    assert learned(structs.replace(ACCEPTED, **changes), **fields) is None
    assert learned(ACCEPTED, placements=("web",), learn_since_ms=DECIDED_MS) is not None


@pytest.mark.parametrize(
    ("value", "worth", "reward", "expected"),
    [
        (25.0, 40.0, 1.0, 0.25),  # what was told counts
        (None, 40.0, 1.0, 0.4),  # else what the decision took it for
        (250.0, 40.0, 1.0, 1.0),
        (-5.0, 40.0, 1.0, 0.0),
        (25.0, 40.0, 0.0, 0.0),  # a rejection is worth nothing
        (None, math.nan, 0.0, 0.0),
    ],
)
def test_learning_from_value(value: float | None, worth: float, reward: float, expected: float) -> None:
    found = learned(
        structs.replace(ACCEPTED, value=value, worth=worth, reward=reward),
        learn_from="value",
        value_scale=100.0,
    )
    assert found is not None
    assert found[0].reward == expected


def test_an_answer_after_the_policys_own_window_is_silence_at_its_end() -> None:
    hour = learned(ACCEPTED, reward_window_s=3600)
    assert hour is not None
    assert (hour[0].reward, hour[1]) == (1.0, (DECIDED_MS + HOUR_MS) / 1000)  # the end still counts
    shorter = learned(ACCEPTED, reward_window_s=3599)
    assert shorter is not None
    assert (shorter[0].reward, shorter[1]) == (0.0, DECIDED_MS / 1000 + 3599)


class OnlyAge(Encoder):
    """Takes the age, and notes the time."""

    def encode(self, facts: Any, at_ms: int) -> NDArray[np.float64]:
        """The age and the time."""
        return np.array([facts["customer.age"], at_ms], dtype=np.float64)


def test_features_are_encoded_as_of_the_decision() -> None:
    policy = ThompsonPolicy(SPEC)
    assert policy.encoder is NO_ENCODER
    policy.encoder = OnlyAge()
    found = Observer(SPEC, policy).observe(ACCEPTED)
    assert found is not None
    assert found[0].x.tolist() == [44.0, float(DECIDED_MS)]


def test_folding_counts_what_taught() -> None:
    deltas, taught = fold_outcomes([ACCEPTED, structs.replace(ACCEPTED, reward=None)], SPEC, POLICY)
    assert taught == 1
    assert len(deltas) == 1


plain = st.one_of(
    st.booleans(),
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text('aé\n"\\ 漢', max_size=MAX_TEXT_CHARS),
    st.lists(st.text("abc", max_size=5), max_size=5),
    st.dictionaries(st.text("abc", max_size=5), st.floats(-1, 1), max_size=5),
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=4), plain, max_size=6))
def test_facts_survive_the_log(values: dict[str, Any]) -> None:
    paths = [f"customer.{name}" for name in values]
    facts = learnable({"customer": values}, paths)
    assert facts == {f"customer.{name}": value for name, value in values.items()}
    assert parse_facts(facts_text(facts).encode()) == facts
    fields = outcome_fields(structs.replace(ACCEPTED, facts=facts))
    pairs = zip(fields[::2], fields[1::2], strict=True)
    parsed = parse_entry(3, ACCEPTED.position, {name.encode(): value.encode() for name, value in pairs})
    assert parsed == [structs.replace(ACCEPTED, facts=facts)]


def test_what_is_too_long_or_no_plain_value_is_cut_or_left_out() -> None:
    facts: dict[str, dict[str, Any]] = {
        "customer": {
            "essay": "x" * 1000,
            "large": 2**60,
            "huge": 2**70,
            "nothing": None,
            "nan": math.nan,
            "object": object(),
            "many": ["t"] * 1000,
            "mixed": [1, "two"],
            "interests": {f"t{i:03}": float(i) for i in range(200)} | {"bad": "x", "worse": math.inf},
        },
        "context": {"a": {"b": 1.5}},
    }
    paths = [f"customer.{name}" for name in facts["customer"]] + [
        "context.a.b",
        "context.a.c",
        "context.a.b.c",
    ]
    found = learnable(facts, paths)
    assert found.keys() == {
        *("customer.essay", "customer.large", "customer.many", "customer.mixed"),
        *("customer.interests", "context.a.b"),
    }
    assert isinstance(found["customer.large"], float)
    assert len(found["customer.essay"]) == MAX_TEXT_CHARS
    assert len(found["customer.many"]) == len(found["customer.interests"]) == MAX_ITEMS
    assert found["customer.mixed"] == ["two"]
    assert found["context.a.b"] == 1.5

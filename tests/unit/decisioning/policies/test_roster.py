"""The roster: what is usable, what is broken and why, and what retired policies still contribute."""

import sys

import pytest

from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from decisioning.policies.roster import Roster
from tests.support.onnx_models import logistic_file, text_of

AGE = PolicySpec(
    "age", 1, "lin_ucb", features=(Feature("age", "numeric", "customer.age", low=0.0, high=100.0),)
)
CITY = PolicySpec(
    "city", 1, "lin_ucb", features=(Feature("city", "category", "customer.city", values=("Bern",)),)
)
UNKNOWN = PolicySpec("odd", 1, "no_such_algorithm")


def test_what_cannot_be_built_is_kept_apart_with_the_reason() -> None:
    roster = Roster([])
    assert roster.add([UNKNOWN, AGE]) == ["age@1"]
    assert list(roster) == roster.learning() == ["age@1"]
    assert "no_such_algorithm" in roster.broken["odd@1"]
    assert (roster.spec("odd@1"), roster.paths) == (UNKNOWN, ("customer.age",))


def test_what_is_here_once_stays_as_it_is() -> None:
    roster = Roster([AGE, UNKNOWN])
    policy = roster["age@1"]
    other = PolicySpec("age", 1, "random")
    assert roster.add([other, PolicySpec("odd", 1, "random")]) == []
    assert roster["age@1"] is policy
    assert roster.spec("age@1") is AGE
    assert "odd@1" not in roster


def test_what_could_not_be_built_is_usable_once_it_can_be() -> None:
    roster = Roster([AGE, UNKNOWN])
    assert roster.add([UNKNOWN]) == []
    assert "odd@1" in roster.broken
    built = build_policy(PolicySpec("odd", 1, "random"))
    assert roster.add([UNKNOWN], {"odd@1": built}) == ["odd@1"]
    assert roster["odd@1"] is built
    assert roster.broken == {}


def test_results_that_were_built_elsewhere_are_taken_as_they_are() -> None:
    built = build_policy(AGE)
    roster = Roster([])
    assert roster.add([AGE, CITY], {"age@1": built, "city@1": "failed there"}) == ["age@1"]
    assert roster["age@1"] is built
    assert roster.broken == {"city@1": "failed there"}


def test_an_unreadable_policy_has_the_first_reason() -> None:
    roster = Roster([])
    roster.mark_unreadable("new@1", "of a later version")
    roster.mark_unreadable("new@1", "again")
    assert roster.broken["new@1"] == "of a later version"


@pytest.mark.parametrize(
    ("retired", "left"),
    [([], ["age", "city"]), (["age@1"], ["city"]), (["city@1", "elsewhere@1"], ["age"])],
)
def test_retired_policies_stay_for_replays_but_neither_learn_nor_ask_for_facts(
    retired: list[str], left: list[str]
) -> None:
    roster = Roster([CITY])
    roster.retire(["city@1", "age@1"])  # replaced below
    assert roster.add([AGE]) == ["age@1"]
    assert (roster.learning(), roster.paths) == ([], ())  # also of what was retired before it came
    roster.retire(retired)
    assert roster.learning() == [f"{name}@1" for name in left]
    assert roster.paths == tuple(f"customer.{name}" for name in left)
    assert sorted(roster) == ["age@1", "city@1"]


def test_a_model_file_without_the_library_is_set_aside_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = {"model": text_of(logistic_file([0.25]))}
    spec = PolicySpec("mine", 1, "onnx", parameters, (Feature("age", "numeric", "customer.age"),))
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "onnxruntime", None)
        roster = Roster([spec])
        assert "pip install 'nextbest[onnx]'" in roster.broken["mine@1"]
        assert "mine@1" not in roster
    roster.add([spec])  # installed meanwhile
    assert (roster.broken, roster.paths) == ({}, ("customer.age",))

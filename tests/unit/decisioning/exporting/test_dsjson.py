"""The dsjson of Vowpal Wabbit: labels, actions and probabilities as its parser reads them."""

import json
from typing import Any

import pytest

from decisioning.exporting.dsjson import dsjson_line
from tests.support.decided import NOW_MS

ROW: dict[str, Any] = {
    "decision_id": "d1",
    "decided_at": NOW_MS,
    "rank": 1,
    "offer_id": "silver",
    "probability": 0.5,
    "reward": 1.0,
    "closed": True,
    "presented": True,
    "candidates": ["gold", "silver", "phone"],
    "candidate_propensities": [0.25, None, None],
    "facts": '{"customer.age": 44, "context.reason": "cancel", "context.mood": null}',
}


def line(**fields: Any) -> dict[str, Any]:
    """A line, read back."""
    written = dsjson_line(ROW | fields)
    assert written is not None
    found: dict[str, Any] = json.loads(written)
    return found


def test_the_label_is_the_cost_the_probability_and_the_action() -> None:
    found = line()
    assert list(found)[:4] == ["_label_cost", "_label_probability", "_label_Action", "_labelIndex"]
    assert (found["_label_cost"], found["_label_probability"]) == (-1.0, 0.5)
    assert (found["_label_Action"], found["_labelIndex"]) == (2, 1)  # from 1, and from 0
    assert found["Version"] == "1"
    assert found["o"] == [{"v": 1.0, "EventId": "d1", "ActionTaken": True}]


def test_actions_and_probabilities_are_parallel_with_the_chosen_one_first() -> None:
    found = line()
    assert found["a"] == [2, 1, 3]
    assert found["p"] == [0.5, 0.25, 0.25]
    assert sum(found["p"]) == pytest.approx(1.0)
    assert len(found["c"]["_multi"]) == 3


def test_facts_are_namespaces_and_each_action_has_its_own() -> None:
    context = line()["c"]
    assert context["Customer"] == {"age": 44}
    assert context["Context"] == {"reason": "cancel"}
    assert context["_multi"][0] == {"Offer": {"id": "gold", "propensity": 0.25}}
    assert context["_multi"][1] == {"Offer": {"id": "silver"}}


def test_lists_and_objects_become_features_of_their_own() -> None:
    """The parser of Vowpal Wabbit 9.11.9 refuses lists of anything but numbers, and names such as `_label`."""
    facts = {
        "context.pages": ["cards", "home=x", True, 3, None],
        "context.none": [],
        "customer.car": {"_label": 2, "make": {"name": "x"}, "colours": ["red"]},
        "customer.debt": 1e300,
        "customer.vip": False,
    }
    context = line(facts=json.dumps(facts))["c"]
    pages = dict.fromkeys(["pages=cards", "pages=home=x", "pages=true", "pages=3"], True)
    assert context["Context"] == pages
    assert context["Customer"] == {
        "car._label": 2,
        "car.make.name": "x",
        "car.colours=red": True,
        "vip": False,
    }


def test_a_later_slot_is_an_event_of_its_own() -> None:
    assert line(rank=2)["EventId"] == "d1:2"


def test_a_single_candidate() -> None:
    found = line(candidates=["silver"], candidate_propensities=[None], probability=1.0)
    assert (found["a"], found["p"]) == ([1], [1.0])


@pytest.mark.parametrize(
    "missing", [{"reward": None}, {"probability": None}, {"closed": False}, {"candidates": ["gold"]}]
)
def test_what_cannot_be_learned_from_is_left_out(missing: dict[str, Any]) -> None:
    assert dsjson_line(ROW | missing) is None

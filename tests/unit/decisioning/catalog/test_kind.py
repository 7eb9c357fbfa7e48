"""Descriptors of kinds: bodies to things and back, for a kind that the project does not have."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from decisioning.catalog.kind import Kind


@dataclass(frozen=True, slots=True)
class Wheel:
    """A part of a part."""

    size: int = 20


@dataclass(frozen=True, slots=True)
class Bike:
    """A thing with a part of its own, lists and defaults."""

    bike_id: str
    name: str
    number: int
    wheels: tuple[Wheel, ...] = (Wheel(), Wheel())
    spare: Wheel | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


BIKE = Kind("bike", "bikes", "bike_id", Bike, derived={"number": 0})
BELL = Kind("bell", "bells", "bike_id", Bike, parent="bike", derived={"number": 0})


def test_a_body_has_neither_the_id_nor_what_is_derived() -> None:
    assert BIKE.body_fields == ["name", "wheels", "spare", "labels"]
    made = BIKE.load("b1", {"name": "Red", "wheels": [{"size": 26}]}, {"number": 7})
    assert made == Bike("b1", "Red", 7, (Wheel(26),))
    assert BIKE.dump(made) == {"name": "Red", "wheels": ({"size": 26},), "spare": None, "labels": {}}


def test_what_the_catalogue_knows_wins_over_what_a_body_claims() -> None:
    claimed = {"name": "Red", "number": 99, "bike_id": "other"}
    assert BIKE.load("b1", claimed, {"number": 7}) == Bike("b1", "Red", 7)
    assert BIKE.load("b1", claimed).number == 0


def test_ids_below_a_parent() -> None:
    assert (BIKE.own_id("a/b"), BELL.own_id("a/b")) == ("a/b", "b")
    assert BELL.load("a/b", {"name": "Ding"}).bike_id == "b"


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Red", "color": "red"},
        {"name": "Red", "wheels": [{"sise": 26}]},
        {"name": "Red", "spare": {"size": 20, "x": 1}},
    ],
)
def test_unknown_fields_are_refused_in_parts_of_parts_too(body: Mapping[str, Any]) -> None:
    with pytest.raises(ValidationError, match="Unexpected keyword argument"):
        BIKE.load("b1", body)


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Red"},
        {"name": "Red", "wheels": [{}, {"size": 20}], "labels": {}},
        {"name": "Red", "spare": None, "wheels": ({"size": "20"}, {})},
    ],
)
def test_bodies_that_mean_the_same_are_equal_once_normalised(body: Mapping[str, Any]) -> None:
    assert BIKE.normalise("b1", body) == {"name": "Red"}


def test_a_part_keeps_what_is_not_its_default() -> None:
    body = {"name": "Red", "wheels": [{"size": 26}, {}], "spare": {}, "labels": {"a": "b"}}
    normal = BIKE.normalise("b1", body)
    assert normal == {"name": "Red", "wheels": [{"size": 26}, {}], "spare": {}, "labels": {"a": "b"}}
    assert BIKE.load("b1", normal) == BIKE.load("b1", body)


def test_each_descriptor_is_a_kind_of_its_own() -> None:
    assert Kind("bike", "bikes", "bike_id", Bike, derived={"number": 0}) != BIKE
    assert len({BIKE, BELL}) == 2

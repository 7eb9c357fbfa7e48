"""Bodies of the simple kinds: whatever they take can be stored as what the catalogue knows."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.api.catalogue.kind_schemas import SIMPLE_KINDS
from app.api.schemas import DatedBody
from decisioning.catalog.kinds import KINDS

DAYS_366_S = 366 * 86_400


def example_of(body: type[BaseModel]) -> dict[str, Any]:
    """The example in the documentation."""
    example: dict[str, Any] = body.model_json_schema()["examples"][0]
    return example


@pytest.mark.parametrize("kind", SIMPLE_KINDS)
def test_what_is_taken_is_a_thing_of_its_kind(kind: str) -> None:
    body = SIMPLE_KINDS[kind].body
    taken = body.model_validate(example_of(body))
    stored = taken.stored() if isinstance(taken, DatedBody) else taken.model_dump()
    loaded = KINDS[kind].load("grow" if kind == "goal" else "x", stored)
    assert set(KINDS[kind].dump(loaded)) == set(stored)


@pytest.mark.parametrize("kind", SIMPLE_KINDS)
def test_unknown_fields_are_refused(kind: str) -> None:
    body = SIMPLE_KINDS[kind].body
    with pytest.raises(ValidationError, match="Extra inputs"):
        body.model_validate(example_of(body) | {"zebra": 1})


@pytest.mark.parametrize(
    ("kind", "fields", "accepted"),
    [
        ("contact_policy", {"max": 0}, False),
        ("contact_policy", {"window_s": DAYS_366_S}, True),
        ("contact_policy", {"window_s": DAYS_366_S + 1}, False),
        ("contact_policy", {"outcomes": []}, False),
        ("contact_policy", {"outcomes": ["expired"]}, False),
        ("contact_policy", {"scope": "customer"}, False),
        ("quiet_hours", {"start": "00:00", "end": "23:59"}, True),
        ("quiet_hours", {"start": "24:00"}, False),
        ("quiet_hours", {"start": "9:00"}, False),
        ("quiet_hours", {"start": "09:00\n"}, False),
        ("quiet_hours", {"time_zone": "Etc/GMT+1"}, True),
        ("quiet_hours", {"time_zone": "../etc"}, False),
        ("capacity", {"max": 0}, True),
        ("capacity", {"max": -1}, False),
        ("capacity", {"per": "week"}, False),
        ("context_weight", {"percent": -100}, True),
        ("context_weight", {"percent": -100.1}, False),
        ("context_weight", {"percent": float("nan")}, False),
        ("goal", {"lever": 10_001}, False),
        ("segment", {"when": ""}, False),
        ("segment", {"when": "x" * 4001}, False),
        ("segment", {"when": "a\x00"}, False),
    ],
)
def test_values_at_their_borders(kind: str, fields: dict[str, Any], accepted: bool) -> None:
    body = SIMPLE_KINDS[kind].body
    values = example_of(body) | fields
    if accepted:
        body.model_validate(values)
        return
    with pytest.raises(ValidationError) as caught:
        body.model_validate(values)
    assert {error["loc"][0] for error in caught.value.errors()} == set(fields)


@pytest.mark.parametrize(
    ("kind", "name", "accepted"),
    [
        ("attribute", "customer.age", True),
        ("attribute", "customer.a.b.c.d", True),
        ("attribute", "customer.a.b.c.d.e", False),
        ("attribute", "age", False),
        ("attribute", "customer.", False),
        ("segment", "adult_2", True),
        ("segment", "2nd", False),
        ("segment", "a.b", False),
        ("goal", "grow", True),
        ("goal", "shrink", False),
        ("capacity", "a.b-c_d", True),
        ("capacity", "a/b", False),
    ],
)
def test_ids(kind: str, name: str, accepted: bool) -> None:
    ids = SIMPLE_KINDS[kind].ids
    if accepted:
        assert ids.validate_python(name) == name
    else:
        with pytest.raises(ValidationError):
            ids.validate_python(name)

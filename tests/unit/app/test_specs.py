"""Specifications as they are written: dates instead of milliseconds, YAML or JSON; each mistake names its field."""

from typing import Any

import pytest

from app.specs import candidate_body, spec_of, warnings_of, with_dates, yaml_values
from bandits.specification import spec_to_dict
from decisioning.errors import Invalid
from storage.clock import DAY_MS

NOW_MS = 1_800_000_000_000
SPEC = {"name": "spring", "algorithm": "thompson"}


def test_a_missing_version_is_told() -> None:
    spec, numbered = spec_of(SPEC, NOW_MS)
    assert (spec.key, numbered) == ("spring@1", False)
    spec, numbered = spec_of({**SPEC, "version": 3}, NOW_MS)
    assert (spec.key, numbered) == ("spring@3", True)


@pytest.mark.parametrize(
    ("since", "since_ms"),
    [
        ({"days": 90}, NOW_MS - 90 * DAY_MS),
        ({"days": 3660}, NOW_MS - 3660 * DAY_MS),
        ("2026-03-01T00:00:00Z", 1_772_323_200_000),
        ("2026-03-01T01:00:00+01:00", 1_772_323_200_000),
    ],
)
def test_the_beginning_of_learning_is_kept_in_milliseconds(since: Any, since_ms: int) -> None:
    assert spec_of({**SPEC, "learn_since": since}, NOW_MS)[0].learn_since_ms == since_ms


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"learn_since": {"days": 0}}, "learn_since.days"),
        ({"learn_since": {"days": True}}, "learn_since.days"),
        ({"learn_since": {"days": 9, "hours": 1}}, "learn_since.days"),
        ({"learn_since": "yesterday"}, "learn_since"),
        ({"learn_since": "2026-03-01T00:00:00Z", "learn_since_ms": 1}, "learn_since"),
        ({"algorithm": "thomson"}, "algorithm"),
    ],
)
def test_a_mistake_names_its_field(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        spec_of({**SPEC, **fields}, NOW_MS)
    assert caught.value.field == field
    with pytest.raises(Invalid) as caught:
        candidate_body({**SPEC, **fields}, NOW_MS)
    assert caught.value.field == f"spec.{field}"


def test_dates_in_yaml_are_texts_with_a_zone() -> None:
    document = "learn_since: 2026-03-01\nlist: [2026-03-01 08:30:00]\n"
    assert yaml_values(document) == {
        "learn_since": "2026-03-01T00:00:00+00:00",
        "list": ["2026-03-01T08:30:00+00:00"],
    }


def test_a_candidate_needs_no_name() -> None:
    assert candidate_body({"algorithm": "thompson"}, NOW_MS)["name"] == "candidate"


def test_a_placement_that_is_not_there_is_warned_of() -> None:
    (warning,) = warnings_of({"placements": ["home", "hoome"]}, ["home", "call"])
    assert "no placement 'hoome'" in warning
    assert "did you mean 'home'?" in warning


def test_what_is_shown_has_dates_and_can_be_registered_again() -> None:
    spec, _ = spec_of({**SPEC, "learn_since": "2026-03-01T08:30:00.250Z"}, NOW_MS)
    shown = with_dates(spec_to_dict(spec))
    assert shown["learn_since"] == "2026-03-01T08:30:00.250Z"
    assert "learn_since_ms" not in shown
    assert spec_of(shown, NOW_MS)[0] == spec

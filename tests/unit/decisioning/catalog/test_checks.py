"""All mistakes of a catalogue are found at once, each with the thing and the field."""

from typing import Any

import pytest

from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.checking.mistakes import find_mistakes
from decisioning.catalog.kind import Entry
from decisioning.errors import Invalid

GROUP: Entry = ("group", "cards", {"name": "Cards", "goal": "grow"})
RULES = [
    {"name": "of age", "tier": "eligibility", "when": "customer.knwon"},
    {"name": "here", "tier": "eligibility", "when": "true"},
]


def offer(name: str, **fields: Any) -> Entry:
    """An offer of the group cards."""
    return ("offer", name, {"name": name, "group": "cards"} | fields)


WRONG: list[Entry] = [
    GROUP,
    ("segment", "odd", {"when": "customer.known +"}),
    offer("gold", group="crads", not_with=["silver", "tin", "lead"], rules=RULES),
    offer("silver", value_expression="'a'", not_after=[{"within_s": 60, "offer": "x", "group": "y"}]),
    (
        "treatment",
        "silver/web",
        {
            "channel": "web",
            "title": "{{ customer.nme }}",
            "message": "{{ customer.customer_id }}",
            "link": "javascript:x",
            "script": {"steps": [{"step_id": "a", "text": "a", "when": "customer.knwon"}]},
        },
    ),
    ("quiet_hours", "night", {"start": "9 pm", "end": "08:00"}),
    ("context_weight", "w", {"when": "offer.value > 3.0", "percent": 3, "group": "crads", "offer": "tin"}),
]
PATHS = [
    *("offers.gold.group", "offers.gold.not_with", "offers.gold.not_with"),
    *("offers.silver.not_after.offer", "offers.silver.not_after.group"),
    *("quiet_hours.night.start", "context_weights.w.offer", "context_weights.w.group"),
    *("segments.odd.when", "offers.gold.rules.of age", "offers.silver.value_expression"),
    "offers.silver.treatments.web.script.steps.a.when",
    "context_weights.w.when",
    *("offers.silver.treatments.web.link", "offers.silver.treatments.web.title"),
    "offers.silver.treatments.web.message",
]


def paths(entries: list[Entry], unread: Any = ()) -> list[str]:
    numbers = {name: n for n, (kind, name, _) in enumerate(entries, 1) if kind == "offer"}
    return [mistake.path for mistake in find_mistakes(entries, numbers, entries, unread)]


def test_all_mistakes_are_found() -> None:
    assert paths(WRONG) == PATHS


def test_building_raises_one_of_them() -> None:
    with pytest.raises(Invalid, match="no group 'crads'"):
        build_catalogue(1, WRONG, {"gold": 1, "silver": 2})


def test_a_catalogue_without_mistakes_has_none() -> None:
    assert paths([GROUP, offer("gold")]) == []


def test_what_refers_to_what_could_not_be_read_is_not_blamed() -> None:
    entries = [offer("gold", not_with=["silver", "tin"], rules=RULES)]
    unread = [("group", "cards"), ("offer", "silver")]
    assert paths(entries, unread) == ["offers.gold.not_with", "offers.gold.rules.of age"]
    # The attribute may be the one that the rule names.
    assert paths(entries, [*unread, ("attribute", "customer.knwon")]) == ["offers.gold.not_with"]


def test_what_is_not_of_its_shape_is_a_mistake_of_its_own() -> None:
    assert paths([GROUP, offer("gold", value="much"), offer("tin", not_with=["gold"])]) == [
        "offers.gold.value"
    ]


def test_what_is_only_wrong_as_a_whole_is_found() -> None:
    circle: list[Entry] = [
        ("segment", "a", {"when": "segment.b"}),
        ("segment", "b", {"when": "segment.a"}),
    ]
    assert paths(circle) == ["segments"]

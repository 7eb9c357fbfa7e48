"""What events tell is read as far as a placement looks, and no further."""

from decisioning.catalog.catalogue import Catalogue, build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.decide.told import ToldDefinitions
from profiles.events.definitions import NO_DEFINITIONS, EventDefinitions

AGGREGATES: list[Entry] = [
    ("aggregate", name, {"event": "call", "function": "count", "window": "7d"})
    for name in ("a", "b", "c", "d", "e")
]
CONCEPTS: list[Entry] = [("concept", name, {"signals": [{"event": "call"}]}) for name in ("x", "y")]


def catalogue(*more: Entry, log_facts: tuple[str, ...] = ()) -> Catalogue:
    """A catalogue with aggregates and concepts, and one placement."""
    placement: Entry = ("placement", "home", {"channel": "web", "log_facts": list(log_facts)})
    return build_catalogue(
        1, [("event", "call", {"name": "Call"}), *AGGREGATES, *CONCEPTS, placement, *more], {"o": 1}
    )


def read(definitions: EventDefinitions) -> list[str]:
    """The names of what is read."""
    return [name for name, *_ in (*definitions.counts, *definitions.concepts)]


def test_where_nothing_looks_at_events_nothing_is_read() -> None:
    plain = catalogue()
    assert ToldDefinitions().of(plain, plain.view("home"), ()) is NO_DEFINITIONS


def test_rules_segments_logged_facts_and_policies_are_looked_through() -> None:
    rules = [{"name": "r", "tier": "eligibility", "when": "events.a > 1 && offer.group == 'g'"}]
    full = catalogue(
        ("segment", "s", {"when": "events.b > 1"}),
        ("group", "g", {"name": "G", "goal": "grow"}),
        ("offer", "o", {"name": "O", "group": "g", "rules": rules, "value_expression": "interests.x"}),
        ("treatment", "o/t", {"channel": "web", "title": "T"}),
        log_facts=("events.c",),
    )
    found = ToldDefinitions()
    assert read(found.of(full, full.view("home"), ("customer.age", "events.d"))) == ["a", "b", "c", "d", "x"]
    again = found.of(full, full.view("home"), ("customer.age", "events.d"))
    assert again is found.of(full, full.view("home"), ("customer.age", "events.d"))
    assert read(found.of(full, full.view("home"), ("interests.y",))) == ["a", "b", "c", "x", "y"]
    other = catalogue(log_facts=("events.e",))
    assert read(found.of(other, other.view("home"), ())) == ["e"]

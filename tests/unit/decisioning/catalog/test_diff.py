"""Differences between catalogues: for people, and as the changes that lead from one to the other."""

from typing import Any

from hypothesis import HealthCheck, given, settings

from decisioning.catalog.diff import Difference, changes_between, differences
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import KINDS
from decisioning.catalog.yaml_document import from_yaml
from tests.support.catalogue_strategies import catalogues

SLOW = settings(max_examples=60, suppress_health_check=list(HealthCheck))
GROUPS = "nextbest: 1\ngroups:\n  cards:\n    name: Cards\n    goal: grow\n"
OFFER = "nextbest: 1\noffers:\n  gold:\n    name: Gold\n    group: cards\n    value: 3\n"


def by_name(entries: list[Entry]) -> dict[tuple[str, str], Any]:
    return {
        (kind, name): KINDS[kind].normalise(name, body) for kind, name, body in entries if body is not None
    }


def applied(current: list[Entry], changes: list[Entry]) -> dict[tuple[str, str], Any]:
    """Return the entries in force after applying changes one by one."""
    found = by_name(current)
    for kind, name, body in changes:
        if body is None:
            del found[kind, name]
        else:
            found[kind, name] = KINDS[kind].normalise(name, body)
    return found


@SLOW
@given(catalogues(), catalogues())
def test_changes_lead_from_one_to_the_other(one: list[Entry], two: list[Entry]) -> None:
    assert applied(one, changes_between(one, two)) == by_name(two)
    assert bool(changes_between(one, two)) == bool(differences(one, two))
    back = {(d.path, str(d.after), str(d.before)) for d in differences(two, one)}
    assert back == {(d.path, str(d.before), str(d.after)) for d in differences(one, two)}


def test_differences_are_told_value_by_value() -> None:
    before = from_yaml(OFFER + "    lever: 5\n    rules: [{name: a, tier: eligibility, when: 'true'}]\n")
    after = from_yaml(OFFER.replace("value: 3", "value: 4") + "    team: calls\n    rules: []\n") + from_yaml(
        GROUPS
    )
    assert [str(d) for d in differences(before, after)] == [
        "+ groups.cards: {'name': 'Cards', 'goal': 'grow'}",
        "- offers.gold.lever: 5.0",
        "- offers.gold.rules: [{'name': 'a', 'tier': 'eligibility', 'when': 'true'}]",
        "+ offers.gold.team: 'calls'",
        "~ offers.gold.value: 3.0 -> 4.0",
    ]
    assert differences(before, [])[0] == Difference("offers.gold", by_name(before)["offer", "gold"], None)

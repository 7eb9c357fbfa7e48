"""Change sets beside what others changed: overlaps, merges field by field, and inverses."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.kind import Entry
from decisioning.changesets.overlap import (
    Bodies,
    due_changes,
    find_overlaps,
    inverse_items,
    orphans,
    plan_changes,
    rebase_items,
)
from decisioning.errors import Overtaken

CARDS = ("group", "cards")


def group(name: str = "Cards", **fields: Any) -> dict[str, Any]:
    return {"name": name, "goal": "grow"} | fields


def after(now: Bodies, changes: list[Entry]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """The things that there are after changes."""
    made = {**now, **{(kind, name): body for kind, name, body in changes}}
    return {key: body for key, body in made.items() if body is not None}


def test_what_means_the_same_is_no_change() -> None:
    now = {CARDS: group(lever=0.0)}
    assert due_changes(now, [(*CARDS, group())]) == []
    assert due_changes(now, [("group", "none", None)]) == []
    assert due_changes(now, [(*CARDS, group(lever=5.0))]) == [(*CARDS, group(lever=5.0))]


def test_with_an_offer_go_its_treatments() -> None:
    offer, treatment = {"name": "Gold", "group": "cards"}, {"channel": "web", "title": "Gold"}
    now = {
        ("offer", "gold"): offer,
        ("treatment", "gold/a"): treatment,
        ("treatment", "golden/a"): treatment,
    }
    changes = due_changes(now, [("offer", "gold", None)])
    assert changes == [("offer", "gold", None), ("treatment", "gold/a", None)]
    assert plan_changes(now, [("offer", "gold", None)]).summary.deleted == (
        "offers.gold",
        "offers.gold.treatments.a",
    )
    kept = [("offer", "gold", None), ("treatment", "gold/b", treatment)]
    assert [mistake.path for mistake in orphans(now, kept)] == ["offers.gold.treatments.b.offer"]


def test_an_overlap_is_what_both_changed_otherwise() -> None:
    base = {CARDS: group()}
    assert find_overlaps(base, base, [(*CARDS, group("Mine"))]) == []
    theirs = {CARDS: group("Theirs")}
    assert find_overlaps(base, theirs, [(*CARDS, group("Theirs"))]) == [], "both did the same"
    found = find_overlaps(base, theirs, [(*CARDS, group("Mine"))])
    assert [(o.path, [str(d) for d in o.theirs]) for o in found] == [
        ("groups.cards", ["~ groups.cards.name: 'Cards' -> 'Theirs'"])
    ]
    assert [o.path for o in find_overlaps(base, {}, [(*CARDS, group("Mine"))])] == ["groups.cards"]
    assert [o.path for o in find_overlaps({}, theirs, [(*CARDS, group("Mine"))])] == ["groups.cards"]


GOLD, OWN, THEIRS = ("offer", "gold"), ("treatment", "gold/own"), ("treatment", "gold/theirs")
OFFER_BODY, TREATMENT_BODY = {"name": "Gold", "group": "cards"}, {"channel": "web", "title": "Gold"}


def test_what_others_did_to_treatments_of_an_offer_that_is_deleted_is_an_overlap() -> None:
    base = {GOLD: OFFER_BODY, OWN: TREATMENT_BODY}
    gone: list[Entry] = [(*GOLD, None)]
    assert find_overlaps(base, base, gone) == []
    added, changed = base | {THEIRS: TREATMENT_BODY}, base | {OWN: TREATMENT_BODY | {"title": "Theirs"}}
    assert [o.path for o in find_overlaps(base, added, gone)] == ["offers.gold.treatments.theirs"]
    assert [o.path for o in find_overlaps(base, changed, gone)] == ["offers.gold.treatments.own"]
    named: list[Entry] = [*gone, (*OWN, None), (*THEIRS, None)]
    assert [o.name for o in find_overlaps(base, added, named)] == ["gold/theirs"], "told once"
    with pytest.raises(Overtaken) as refused:
        rebase_items(base, added, gone, None)
    assert [path for path, _ in refused.value.things] == ["offers.gold.treatments.theirs"]
    assert rebase_items(base, added, gone, "mine") == gone
    assert rebase_items(base, added, gone, "theirs") == [], "an offer stays with its treatment"
    assert rebase_items(base, base, gone, None) == gone


def test_fields_of_both_sides_come_together() -> None:
    base, theirs = {CARDS: group()}, {CARDS: group("Theirs", requires_consent="marketing")}
    mine = [(*CARDS, group(lever=9.0))]
    assert rebase_items(base, theirs, mine, None) == [
        (*CARDS, group("Theirs", requires_consent="marketing", lever=9.0))
    ]


def test_what_both_sides_removed_a_field_of_or_set_alike_is_not_contested() -> None:
    base = {CARDS: group(lever=9.0)}
    theirs = {CARDS: group("New")}
    assert rebase_items(base, theirs, [(*CARDS, group("New", requires_consent="x"))], None) == [
        (*CARDS, group("New", requires_consent="x"))
    ]
    assert rebase_items(base, theirs, [(*CARDS, group("New"))], None) == [], "nothing is left to do"


@pytest.mark.parametrize(
    ("keep", "name", "gone"), [("mine", "Mine", group("Kept")), ("theirs", "Theirs", None)]
)
def test_what_is_contested_takes_a_decision(keep: Any, name: str, gone: Any) -> None:
    base = {CARDS: group(), ("group", "old"): group()}
    theirs = {CARDS: group("Theirs")}
    items: list[Entry] = [(*CARDS, group("Mine", lever=1.0)), ("group", "old", group("Kept"))]
    with pytest.raises(Overtaken) as refused:
        rebase_items(base, theirs, items, None)
    assert [field for field, _ in refused.value.things] == ["groups.cards.name", "groups.old"]
    wanted: list[Entry] = [(*CARDS, group(name, lever=1.0))]
    assert rebase_items(base, theirs, items, keep) == wanted + (
        [] if gone is None else [("group", "old", gone)]
    )


IDS = st.sampled_from(["a", "b", "c"])
GROUPS = st.fixed_dictionaries(
    {"name": st.sampled_from("xyz"), "goal": st.sampled_from(["grow", "retain"])},
    optional={"lever": st.sampled_from([0.0, 1.0, 2.0]), "requires_consent": st.sampled_from(["p", None])},
)
CATALOGUES = st.dictionaries(st.tuples(st.just("group"), IDS), GROUPS)
ITEMS = st.dictionaries(IDS, st.none() | GROUPS).map(
    lambda found: [("group", name, body) for name, body in sorted(found.items())]
)


@given(CATALOGUES, ITEMS)
def test_an_inverse_brings_back_what_there_was(before: Bodies, items: list[Entry]) -> None:
    made = after(before, due_changes(before, items))
    inverse = inverse_items(*([(*key, body) for key, body in side.items()] for side in (before, made)))
    restored = after(made, due_changes(made, inverse))
    assert due_changes(before, [(*key, body) for key, body in restored.items()]) == []
    assert restored.keys() == before.keys()


@given(CATALOGUES, CATALOGUES, ITEMS, st.sampled_from(["mine", "theirs"]))
def test_after_a_rebase_nothing_overlaps_and_what_one_side_changed_stays(
    base: Bodies, now: Bodies, items: list[Entry], keep: Any
) -> None:
    rebased = rebase_items(base, now, items, keep)
    assert find_overlaps(now, now, rebased) == []
    untouched = [item for item in items if not find_overlaps(base, now, [item])]
    made = after(now, due_changes(now, rebased))
    for kind, name, body in untouched:
        if due_changes(base, [(kind, name, body)]):
            assert due_changes(made, [(kind, name, body)]) == [], "it is as the item says"
    if not any(find_overlaps(base, now, [item]) for item in items):
        assert rebase_items(base, now, items, None) == rebased

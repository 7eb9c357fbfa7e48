"""Offers that exclude each other, and statuses at a time: laws against plain definitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.kind import Entry

IDS = [f"o{n}" for n in range(6)]


@given(st.dictionaries(st.sampled_from(IDS), st.lists(st.sampled_from(IDS), max_size=3), max_size=6))
def test_apart_is_symmetric_and_complete(not_with: dict[str, list[str]]) -> None:
    entries: list[Entry] = [
        ("group", "g", {"name": "g", "goal": "grow"}),
        ("placement", "p", {"channel": "web"}),
    ]
    for name in IDS:
        entries.append(
            ("offer", name, {"name": name, "group": "g", "value": 1.0, "not_with": not_with.get(name, [])})
        )
        treatment = {"channel": "web", "language": "en", "title": name, "message": ""}
        entries.append(("treatment", f"{name}/x", treatment))
    view = build_catalogue(1, entries, {name: n for n, name in enumerate(IDS, 1)}).view("p")
    rows = {offer.offer_id: row for row, offer in enumerate(view.offers)}
    for one in IDS:
        for two in IDS:
            meant = two in not_with.get(one, []) or one in not_with.get(two, [])
            found = view.mutually_exclusive.get(rows[one], np.zeros(len(IDS), dtype=bool))[rows[two]]
            assert bool(found) == meant

"""The things of a catalogue: statuses at a time, and weights."""

from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.catalogue import build_catalogue
from decisioning.catalog.kind import Entry
from decisioning.model.entities import Offer, effective_status


@given(
    st.sampled_from(("draft", "scheduled", "live", "paused", "ended")),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 6),
)
def test_effective_status(status: str, starts_ms: int, ends_ms: int, now_ms: int) -> None:
    entries: list[Entry] = [
        ("group", "g", {"name": "g", "goal": "grow"}),
        ("placement", "p", {"channel": "web"}),
        ("treatment", "o/x", {"channel": "web", "language": "en", "title": "o", "message": ""}),
        (
            "offer",
            "o",
            {
                "name": "o",
                "group": "g",
                "value": 1,
                "status": status,
                "starts_ms": starts_ms,
                "ends_ms": ends_ms,
            },
        ),
    ]
    catalogue = build_catalogue(1, entries, {"o": 1})
    offer: Offer = catalogue.offers["o"]
    view = catalogue.view("p")
    offered = bool(view.offers) and bool(view.live(now_ms)[0])
    shown = effective_status(offer, now_ms)
    assert (shown == "live") == offered
    if status in ("draft", "ended"):
        assert shown == status
    elif now_ms >= ends_ms:
        assert shown == "ended"

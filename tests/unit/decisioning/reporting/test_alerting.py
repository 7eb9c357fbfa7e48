"""What alerts find, and when they turn."""

import pytest

from decisioning.catalog.alert import Alert, webhook_problem
from decisioning.reporting.alerting import (
    Finding,
    OfferCounts,
    acceptance_finding,
    changes_of,
    degraded_finding,
    exploration_finding,
)

DROP = Alert("a", "acceptance_drop", threshold=0.2)


def found(subject: str, firing: bool | None) -> Finding:
    """A finding."""
    return Finding(subject, 0.5, firing, "said")


@pytest.mark.parametrize(
    ("known", "firing", "expected"),
    [
        (None, False, None),
        (None, None, None),
        (None, True, (True, True)),
        (True, True, (True, False)),
        (True, None, (True, False)),
        (True, False, (False, True)),
        (False, False, (False, False)),
        (False, True, (True, True)),
    ],
)
def test_an_alert_turns_once(
    known: bool | None, firing: bool | None, expected: tuple[bool, bool] | None
) -> None:
    before = {} if known is None else {"home": known}
    changes = [(change.firing, change.turned) for change in changes_of([found("home", firing)], before)]
    assert changes == ([] if expected is None else [expected])


def test_what_is_not_found_any_more_is_resolved() -> None:
    (change,) = changes_of([], {"gone": True, "over": False})
    assert (change.finding.subject, change.firing, change.turned) == ("gone", False, True)


@pytest.mark.parametrize(
    ("before", "now", "firing"),
    [
        ((100, 1000), (50, 1000), True),
        ((100, 1000), (85, 1000), False),  # by 15 %
        ((3, 30), (1, 30), False),  # may be chance
        ((3, 29), (0, 1000), None),
        ((100, 1000), (0, 29), None),
        ((0, 1000), (0, 1000), False),
        ((50, 1000), (100, 1000), False),
    ],
)
def test_a_drop_of_acceptance_must_be_large_and_no_chance(
    before: tuple[int, int], now: tuple[int, int], firing: bool | None
) -> None:
    assert acceptance_finding("home", DROP, before, now).firing is firing


def test_exploration_died_where_an_offer_that_may_be_as_good_is_hardly_selected() -> None:
    alert = Alert("a", "exploration_died")
    favourite, beaten = OfferCounts("gold", 999, 100, 1000), OfferCounts("silver", 1, 0, 1000)
    assert exploration_finding("home", alert, [favourite, beaten]).firing is False
    unknown = OfferCounts("bronze", 0, 0, 5)
    finding = exploration_finding("home", alert, [favourite, unknown])
    assert finding.firing is True
    assert "bronze" in finding.message
    assert exploration_finding("home", alert, [favourite]).firing is None
    few = OfferCounts("gold", 100, 1, 100)
    assert exploration_finding("home", alert, [few, unknown]).firing is None


def test_degraded_decisions_are_judged_by_their_share() -> None:
    alert = Alert("a", "degraded_share", threshold=0.1)
    assert degraded_finding("home", alert, 2, 20).firing is True
    assert degraded_finding("home", alert, 1, 20).firing is False
    assert degraded_finding("home", alert, 19, 19).firing is None
    assert degraded_finding("home", Alert("a", "degraded_share", threshold=0.0), 0, 50).firing is False


@pytest.mark.parametrize(
    ("url", "right"),
    [
        ("https://example.com/hooks?a=b", True),
        ("http://127.0.0.1:8080/", True),
        ("ftp://example.com", False),
        ("https://", False),
        ("https://user@example.com/", False),
        ("https://example.com:0x/", False),
        ("https://example.com/#part", False),
        ("https://example.com/a b", False),
        ("example.com/hooks", False),
    ],
)
def test_addresses_of_webhooks(url: str, right: bool) -> None:
    assert (webhook_problem(url) is None) == right

"""Rates of the acceptance report, and the difference of each group from the champion's customers who are alike."""

from typing import Any

import pytest

from decisioning.evaluation.acceptance_report import add_rates


def row(accepted: int, rejected: int, ignored: int, **group: Any) -> dict[str, Any]:
    """A row of counts as the roll-up gives it, of closed windows."""
    counts = {"accepted_closed": accepted, "rejected_closed": rejected, "ignored": ignored, "unobserved": 0}
    return counts | {"decided": accepted + rejected + ignored} | group


def test_rates_are_of_what_was_observed() -> None:
    rows = [row(1, 2, 1, policy="spring@2"), row(0, 0, 0, policy="a-b@1")]
    add_rates(rows, ["policy"])
    assert (rows[0]["policy"], rows[0]["version"], rows[0]["observed"], rows[0]["rate"]) == (
        "spring",
        2,
        4,
        0.25,
    )
    assert 0 < rows[0]["low"] < 0.25 < rows[0]["high"] < 1
    assert (rows[1]["rate"], rows[1]["low"], rows[1]["high"]) == (None, 0.0, 1.0)
    assert "lift" not in rows[0]


def test_open_windows_are_counted_apart() -> None:
    young = row(0, 0, 0, decided=300)
    half = row(5, 0, 95, decided=310, unobserved=10)
    add_rates([young, half], [])
    assert (young["open"], young["observed"], young["rate"]) == (300, 0, None)
    assert (half["open"], half["observed"], half["rate"]) == (200, 100, 0.05)


def test_groups_are_compared_with_the_champions_of_all_policies() -> None:
    rows = [
        row(10, 90, 0, group="champion", policy="a@1"),
        row(30, 70, 0, group="champion", policy="b@1"),
        row(30, 70, 0, group="canary", policy="c@1"),
    ]
    add_rates(rows, ["group", "policy"])
    assert rows[2]["difference"] == pytest.approx(0.3 - 40 / 200)
    assert rows[2]["lift"] == pytest.approx(0.5)
    assert rows[2]["difference_low"] < 0.1 < rows[2]["difference_high"]


def test_only_customers_who_are_alike_are_compared() -> None:
    rows = [
        row(10, 90, 0, group="champion", offer_id="gold"),
        row(50, 50, 0, group="champion", offer_id="silver"),
        row(20, 80, 0, group="control", offer_id="gold"),
        row(20, 80, 0, group="control", offer_id="platinum"),
    ]
    add_rates(rows, ["offer", "group"])
    assert rows[2]["difference"] == pytest.approx(0.1)
    assert (rows[3]["difference"], rows[3]["lift"]) == (None, None)

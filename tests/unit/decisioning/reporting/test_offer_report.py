"""Rows of the report on offers: sums, rates, and the lift against a control group."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from decisioning.reporting.offer_report import (
    COUNTS,
    FIGURES,
    SQUARES,
    ReportScope,
    lift_interval,
    report_rows,
    table_columns,
)


def counted(group: str, accepted: int, ignored: int, **dimensions: Any) -> dict[str, Any]:
    """A row of counts of a control group."""
    counts = dict.fromkeys((*COUNTS, *SQUARES), 0) | {"accepted": accepted, "ignored": ignored}
    return counts | {"decided": accepted + ignored, "control_group": group} | dimensions


def test_control_groups_are_summed_where_they_are_not_asked_for() -> None:
    rows = report_rows(
        [
            counted("champion", 30, 170, offer="gold", policy="a@1"),
            counted("canary", 10, 90, offer="gold", policy="b@1"),
            counted("control", 5, 95, offer="gold", policy="random@1"),
            counted("imported", 100, 0, offer="gold", policy="history@1"),
        ],
        ["offer"],
        "control",
    )
    (row,) = rows
    assert (row["decided"], row["accepted"], row["observed"]) == (500, 145, 500)
    assert row["rate"] == 145 / 500
    # 40 of 300 against 5 of 100: the imported ones are not compared.
    assert (row["control_accepted"], row["control_observed"]) == (5, 100)
    assert row["difference"] == pytest.approx(40 / 300 - 0.05)
    assert row["lift"] == pytest.approx(40 / 300 / 0.05 - 1)
    assert row["lift_low"] < row["lift"] < row["lift_high"]


def test_policies_are_compared_with_the_control_group_of_another_policy() -> None:
    rows = report_rows(
        [counted("champion", 20, 80, policy="a@1"), counted("control", 10, 90, policy="random@1")],
        ["policy"],
        "control",
    )
    assert [row["lift"] for row in rows] == [pytest.approx(1.0), None]


def test_only_rows_that_are_alike_are_compared() -> None:
    rows = report_rows(
        [counted("champion", 20, 80, offer="gold"), counted("control", 10, 90, offer="silver")],
        ["offer", "control_group"],
        "control",
    )
    assert [row["control_observed"] for row in rows] == [0, 100]
    assert [row["difference"] for row in rows] == [None, 0.0]


def test_the_interval_of_a_lift_is_that_of_the_logarithm_of_the_ratio() -> None:
    # exp(ln 2 -+ 1.959964 * sqrt(1/20 - 1/100 + 1/10 - 1/100)) - 1, worked out apart from the code.
    assert lift_interval(20, 100, 10, 100) == pytest.approx((1.0, -0.013437, 3.054479), abs=1e-5)
    assert lift_interval(0, 100, 10, 100) == (-1.0, None, None)
    assert lift_interval(3, 100, 0, 100) == (None, None, None)
    assert lift_interval(0, 0, 3, 100) == (None, None, None)


def test_days_begin_in_their_time_zone() -> None:
    scope = ReportScope.of_days("Europe/Madrid", date(2026, 3, 29), date(2026, 3, 30))
    assert scope.since == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert scope.until == datetime(2026, 3, 29, 22, tzinfo=UTC), "a day of 23 hours"


def test_the_log_is_read_where_the_roll_up_cannot_tell() -> None:
    assert not ReportScope("Europe/Madrid").needs_log(["day", "offer", "channel"])
    assert ReportScope().needs_log(["treatment"])
    assert ReportScope().needs_log(["segment"])
    assert ReportScope("Asia/Kolkata").needs_log(["day"])
    assert not ReportScope("Asia/Kolkata").needs_log(["offer"])
    assert ReportScope.of_days("Asia/Kolkata", date(2026, 1, 1), None).needs_log(["offer"])


def test_tables_have_all_figures_in_one_order() -> None:
    rows = report_rows([counted("champion", 1, 1, day=date(2026, 1, 1))], ["day"], "control")
    columns = list(table_columns(rows, ["day"]))
    assert [name for name, _, _ in columns] == ["day", *FIGURES]
    assert columns[0] == ("day", date, [date(2026, 1, 1)])


def test_values_have_an_interval_if_the_squares_of_all_are_known() -> None:
    known = counted("champion", 2, 6, offer="gold") | {"value": 30.0, "value_squares": 500.0}
    also = counted("control", 1, 1, offer="gold") | {"value": 5.0, "value_squares": 25.0}
    (row,) = report_rows([known, also], ["offer"], "control")
    # 10, 20, 5 and seven times 0: variance (525 - 35 * 3.5) / 9, worked out apart from the code.
    assert [row[name] for name in ("value_mean", "value_low", "value_high")] == pytest.approx(
        [3.5, 3.5 - 4.144859, 3.5 + 4.144859], abs=1e-5
    )
    assert not set(SQUARES) & row.keys()
    (row,) = report_rows([known, also | {"unsquared": 1}], ["offer"], "control")
    assert (row["value_mean"], row["value_low"], row["value_high"]) == (3.5, None, None)
    (row,) = report_rows([counted("champion", 0, 0, offer="gold")], ["offer"], "control")
    assert (row["value_mean"], row["value_low"], row["value_high"]) == (None, None, None)

"""Rows of the report on offers: sums, rates, and the lift against a control group."""

import math
from datetime import UTC, date, datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandits.intervals import Z95, known
from decisioning.reporting.offer_report import (
    COUNTS,
    FIGURES,
    SQUARES,
    ReportScope,
    lift_intervals,
    report_columns,
    rows_of,
    table_columns,
)


def counted(group: str, accepted: int, ignored: int, **dimensions: Any) -> dict[str, Any]:
    """A row of counts of a control group."""
    counts = dict.fromkeys((*COUNTS, *SQUARES), 0) | {"accepted": accepted, "ignored": ignored}
    return counts | {"decided": accepted + ignored, "control_group": group} | dimensions


def report_rows(counts: list[dict[str, Any]], by: list[Any], against: str) -> list[dict[str, Any]]:
    """The rows of a report of rows of counts."""
    return [msgspec.structs.asdict(row) for row in rows_of(report_columns(columns_of(counts), by, against))]


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The values of rows by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def lift_interval(*counts: int) -> tuple[float | None, float | None, float | None]:
    """The lift of one row, with its interval, worked out as the formula says."""
    accepted, observed, control_accepted, control_observed = counts
    if not observed or not control_accepted:
        return None, None, None
    ratio = accepted / observed / (control_accepted / control_observed)
    if not accepted:
        return ratio - 1, None, None
    error = math.sqrt(1 / accepted - 1 / observed + 1 / control_accepted - 1 / control_observed)
    return ratio - 1, ratio * math.exp(-Z95 * error) - 1, ratio * math.exp(Z95 * error) - 1


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


def lifts_of(rows: list[tuple[int, int, int, int]]) -> list[tuple[float | None, ...]]:
    """The lifts of rows of counts, with their intervals."""
    found = lift_intervals(*np.array(rows, float).T)
    return list(zip(*(known(column) for column in found), strict=True))


def test_the_interval_of_a_lift_is_that_of_the_logarithm_of_the_ratio() -> None:
    rows = [(20, 100, 10, 100), (0, 100, 10, 100), (3, 100, 0, 100), (0, 0, 3, 100), (3, 10, 0, 0)]
    first, *others = lifts_of(rows)
    # exp(ln 2 -+ 1.959964 * sqrt(1/20 - 1/100 + 1/10 - 1/100)) - 1, worked out apart from the code.
    assert first == pytest.approx((1.0, -0.013437, 3.054479), abs=1e-5)
    assert others == [(-1.0, None, None), *[(None, None, None)] * 3]


OBSERVED = st.integers(0, 10**9).flatmap(
    lambda observed: st.tuples(st.integers(0, observed), st.just(observed))
)


@given(st.lists(st.tuples(OBSERVED, OBSERVED).map(lambda pair: (*pair[0], *pair[1])), min_size=1))
def test_lifts_of_many_rows_are_those_of_each_to_the_last_bit(rows: list[tuple[int, int, int, int]]) -> None:
    assert lifts_of(rows) == [lift_interval(*row) for row in rows]


def test_a_report_without_any_counts_has_no_rows() -> None:
    nothing: dict[str, list[Any]] = {name: [] for name in ("offer", "control_group", *COUNTS, *SQUARES)}
    columns = report_columns(nothing, ["offer"], "control")
    assert [*columns] == ["offer", *FIGURES]
    assert list(rows_of(columns)) == []


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
    counts = columns_of([counted("champion", 1, 1, day=date(2026, 1, 1))])
    columns = list(table_columns(report_columns(counts, ["day"], "control"), ["day"]))
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

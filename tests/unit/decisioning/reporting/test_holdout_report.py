"""The report on a hold-out: intervals as other libraries compute them, what may be counted, and warnings."""

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from scipy import stats

from decisioning.holdouts.holdout import Holdout
from decisioning.reporting.holdout_report import (
    FIGURES,
    Moments,
    Part,
    Revision,
    Side,
    Sides,
    Span,
    in_force_within,
    measure_rows,
    others_excluded,
    part_rows,
    ratio_interval,
    ratio_test,
    side_figures,
    span_of,
    table_columns,
    warnings_of,
    welch_interval,
)

HOLDOUT = Holdout("all", 0.05)
DAY_MS = 86_400_000
SPAN = Span(1, 0, DAY_MS, changed=False)


def side(values: Any) -> Side:
    """A side whose customers have these values of one measure."""
    found = np.asarray(values, dtype=float)
    variance = float(found.var(ddof=1)) if len(found) > 1 else None
    return Side(len(found), 0, len(found), {"orders": Moments(float(found.sum()), variance)})


@pytest.mark.parametrize("seed", range(5))
def test_the_difference_has_welchs_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    treated, held_out = rng.poisson(2.0, 300 + seed), rng.exponential(1.5, 20 + seed)
    expected = stats.ttest_ind(treated, held_out, equal_var=False).confidence_interval(0.95)
    difference, low, high = welch_interval(side(treated), side(held_out), "orders")
    assert difference == pytest.approx(treated.mean() - held_out.mean())
    assert (low, high) == pytest.approx((expected.low, expected.high))


def test_the_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(7)
    covered = {"difference": 0, "ratio": 0}
    for _ in range(400):
        one, other = side(rng.poisson(1.2, 500)), side(rng.poisson(1.0, 200))
        for name, truth, interval in (
            ("difference", 0.2, welch_interval(one, other, "orders")),
            ("ratio", 1.2, ratio_interval(one, other, "orders")),
        ):
            _, low, high = interval
            assert low is not None
            assert high is not None
            covered[name] += low <= truth <= high
    assert all(0.92 <= n / 400 <= 0.98 for n in covered.values()), covered


def test_a_row_has_all_figures_and_null_where_nothing_is_known() -> None:
    (row,) = measure_rows(side([2.0, 4.0, 0.0]), side([1.0, 1.0]), ["orders"])
    assert tuple(row) == ("measure", *FIGURES)
    assert (row["treated_mean"], row["held_out_mean"], row["difference"], row["ratio"]) == (
        2.0,
        1.0,
        1.0,
        2.0,
    )
    assert row["incremental"] == 3.0
    assert row["incremental_high"] == pytest.approx(3 * row["difference_high"])
    (row,) = measure_rows(side([1.0, 1.0]), side([0.0, 0.0]), ["orders"])  # nothing varies
    assert (row["difference"], row["difference_low"], row["ratio"]) == (1.0, None, None)
    (row,) = measure_rows(Side(), side([1.0]), ["orders"])
    assert (row["treated_mean"], row["difference"], row["incremental"], row["ratio"]) == (None,) * 4
    (row,) = measure_rows(side([1.0]), side([1.0, 2.0]), ["orders"])
    assert (row["difference"], row["difference_low"], row["ratio_high"]) == (-0.5, None, None)


def test_parts_are_in_order_and_each_is_compared_by_itself() -> None:
    parts: dict[Part, Sides] = {
        None: Sides(side([1.0]), Side()),
        "web": Sides(side([3.0, 1.0]), side([1.0, 0.0])),
        "agent": Sides(Side(), side([2.0])),
    }
    changed = replace(SPAN, changed=True)
    rows = part_rows(parts, "channel", 0.5, ["orders"], changed)
    assert [row["channel"] for row in rows] == ["agent", "web", None]
    assert [(row["treated"], row["held_out"], row["open"]) for row in rows] == [
        (0, 1, 0),
        (2, 2, 0),
        (1, 0, 0),
    ]
    assert [row["measures"][0]["difference"] for row in rows] == [None, 1.5, None]
    # A change of the hold-out is said of the whole report alone.
    assert {warning["code"] for row in rows for warning in row["warnings"]} == {"few"}
    whole = side_figures(parts["web"], 0.5, ["orders"], changed)
    assert [warning["code"] for warning in whole["warnings"]] == ["changed", "few"]


def test_a_part_whose_sides_have_other_shares_says_so() -> None:
    parts: dict[Part, Sides] = {
        "web": Sides(side([1.0] * 500), side([1.0] * 500)),
        "agent": Sides(side([1.0] * 900), side([1.0] * 100)),
    }
    agent, web = part_rows(parts, "channel", 0.1, ["orders"], SPAN)
    assert (agent["warnings"], agent["sample_ratio_p"]) == ([], 1.0)
    assert [warning["code"] for warning in web["warnings"]] == ["sample_ratio"]


def test_a_table_has_a_row_for_each_measure_of_each_part() -> None:
    whole = side_figures(Sides(side([1.0]), side([2.0])), 0.5, ["orders", "value"], SPAN)
    columns = {name: values for name, _, values in table_columns(whole)}
    assert [*columns] == ["measure", *FIGURES]
    assert columns["measure"] == ["orders", "value"]
    days: dict[Part, Sides] = {
        date(2026, 3, 3): Sides(side([1.0]), Side()),
        date(2026, 3, 2): Sides(Side(), side([2.0])),
    }
    rows = part_rows(days, "day", 0.5, ["orders", "value"], SPAN)
    columns = {name: values for name, _, values in table_columns(whole | {"by": "day", "rows": rows})}
    assert [*columns] == ["day", "measure", "treated", "held_out", "sample_ratio_p", "open", *FIGURES]
    assert columns["day"] == [date(2026, 3, 2)] * 2 + [date(2026, 3, 3)] * 2
    assert columns["treated"] == [0, 0, 1, 1]
    assert columns["treated_total"] == [0.0, 0.0, 1.0, 0.0]


def test_the_numbers_of_customers_are_tested_as_pearson_does() -> None:
    expected = stats.chisquare([9450, 550], [9500, 500]).pvalue
    assert ratio_test(9450, 550, 0.05) == pytest.approx(expected)
    assert ratio_test(9500, 500, 0.05) == 1.0
    assert ratio_test(90, 0, 0.05) is None  # fewer than 5 were to be expected


def revisions(*holdouts: Holdout | None) -> list[Revision]:
    """Revisions, the newest first; each is published a day after the one before, the first at day 1."""
    found = [Revision(10 + n, n * DAY_MS, holdout) for n, holdout in enumerate(holdouts, 1)]
    return found[::-1]


LARGER = replace(HOLDOUT, share=0.1)
RENAMED = replace(LARGER, name="Control", description="for the year")
NOW_MS = 100 * DAY_MS


def test_holdouts_that_were_deleted_or_changed_within_the_span_count_as_well() -> None:
    other, whole = Holdout("other", 0.1, goal="grow"), Holdout("other", 0.1)
    trail = [
        Revision(9, 40, None, "late"),
        Revision(8, 30, None, "gone"),
        Revision(7, 20, whole, "other"),
        Revision(6, 12, None, "before"),
        Revision(5, 10, Holdout("late", 0.1), "late"),
        Revision(4, 9, other, "other"),
        Revision(3, 8, Holdout("gone", 0.1), "gone"),
        Revision(2, 7, Holdout("before", 0.1), "before"),
        Revision(1, 6, HOLDOUT, HOLDOUT.holdout_id),
    ]
    found = in_force_within(trail, Span(1, 15, 25, False))
    assert [(one.holdout_id, one.goal) for one in found] == [
        ("other", None), ("late", None), ("other", "grow"), ("gone", None), (HOLDOUT.holdout_id, HOLDOUT.goal),
    ]  # fmt: skip
    assert others_excluded(HOLDOUT, found) == ["other", "late", "gone"]
    assert [one.holdout_id for one in in_force_within(trail, Span(1, 31, 39, False))] == [
        "other", "late", HOLDOUT.holdout_id,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("published", "version", "day", "changed"),
    [
        ((HOLDOUT,), 11, 1, False),
        ((HOLDOUT, replace(HOLDOUT, name="Control")), 11, 1, False),
        ((HOLDOUT, LARGER), 12, 2, True),
        ((HOLDOUT, LARGER, RENAMED), 12, 2, True),
        ((HOLDOUT, replace(HOLDOUT, exempt_goals=("serve",))), 12, 2, True),
        ((HOLDOUT, None, HOLDOUT), 13, 3, True),
        # It goes on as long as it had not ended when its end was moved.
        ((replace(HOLDOUT, ends_ms=9 * DAY_MS), HOLDOUT), 11, 1, False),
        ((replace(HOLDOUT, ends_ms=DAY_MS), HOLDOUT), 12, 2, True),
    ],
)
def test_only_what_came_since_the_last_change_of_who_is_held_out_is_counted(
    published: tuple[Holdout | None, ...], version: int, day: int, changed: bool
) -> None:
    span = span_of(revisions(*published), None, None, NOW_MS)
    assert span == Span(version, day * DAY_MS, NOW_MS + 1, changed)


def test_the_time_of_a_report_lies_within_that_of_the_holdout() -> None:
    dated = replace(HOLDOUT, starts_ms=5 * DAY_MS, ends_ms=50 * DAY_MS)
    assert span_of(revisions(dated), None, None, NOW_MS) == Span(11, 5 * DAY_MS, 50 * DAY_MS, False)
    assert span_of(revisions(dated), 7 * DAY_MS, 9 * DAY_MS, NOW_MS) == Span(
        11, 7 * DAY_MS, 9 * DAY_MS, False
    )
    early = span_of(revisions(dated), None, None, 3 * DAY_MS)
    assert early == Span(11, 5 * DAY_MS, 5 * DAY_MS, False)
    # Who asks only for what came after a change need not be told of it.
    late = span_of(revisions(HOLDOUT, LARGER), 7 * DAY_MS, None, NOW_MS)
    assert late == Span(12, 7 * DAY_MS, NOW_MS + 1, False)
    assert span_of([], None, None, NOW_MS) is None
    assert span_of(revisions(HOLDOUT, None), None, None, NOW_MS) is None


def test_customers_from_whom_another_holdout_withholds_the_same_are_on_neither_side() -> None:
    growth, loyalty = Holdout("growth", 0.1, goal="grow"), Holdout("loyalty", 0.1, goal="retain")
    every = [HOLDOUT, growth, loyalty, Holdout("more", 0.1, goal="grow"), Holdout("second", 0.1)]
    assert others_excluded(HOLDOUT, every) == ["second"]
    assert others_excluded(growth, every) == ["all", "more", "second"]
    assert others_excluded(loyalty, every) == ["all", "second"]


@pytest.mark.parametrize(
    ("treated", "held_out", "span", "codes"),
    [
        (Side(9500, 5, 95), Side(500), SPAN, []),
        (Side(9500), Side(500), replace(SPAN, changed=True), ["changed"]),
        (Side(1900), Side(99), SPAN, ["few"]),
        (Side(9500), Side(700), SPAN, ["sample_ratio"]),
        (Side(9500, 50, 50), Side(500), SPAN, ["open"]),
        (Side(), Side(), SPAN, ["few"]),
    ],
)
def test_warnings(treated: Side, held_out: Side, span: Span, codes: list[str]) -> None:
    assert [code for code, _ in warnings_of(treated, held_out, 0.05, span)] == codes

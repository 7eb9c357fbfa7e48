"""Days of UTC that a report can read as a whole, and the times that are left over."""

from datetime import UTC, date, datetime

import pytest

from decisioning.reporting.days.store_report_days import ReportDays, whole_days

DAYS = [date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 2), date(2026, 3, 31), date(2026, 4, 1)]


@pytest.mark.parametrize(
    ("zone", "by", "expected"),
    [
        ("UTC", ["day", "week", "month"], DAYS),
        ("Europe/Madrid", ["offer", "placement"], DAYS),
        ("Europe/Madrid", ["day"], []),
        # Sunday's last hour is Monday there, and the last hour of a month is in the next one.
        ("Europe/Madrid", ["week"], [DAYS[0], *DAYS[2:]]),
        ("Europe/Madrid", ["offer", "month"], [DAYS[1], DAYS[2], DAYS[4]]),
        ("America/Bogota", ["month"], [DAYS[0], DAYS[2], DAYS[3]]),
    ],
)
def test_a_day_is_read_as_a_whole_if_it_lies_in_one_period(
    zone: str, by: list[str], expected: list[date]
) -> None:
    assert whole_days(DAYS, zone, by) == expected


def test_what_is_left_over_is_named_by_its_ends() -> None:
    ends = [datetime(2026, 3, day, tzinfo=UTC) for day in (1, 2, 5, 7)]
    days = ReportDays([], [(ends[0], ends[1]), (ends[2], ends[3])])
    assert (
        days.left_over("hour") == "(hour >= :start0 AND hour < :stop0 OR hour >= :start1 AND hour < :stop1)"
    )
    assert days.values() == {
        "days": [],
        "spans": [],
        "start0": ends[0],
        "stop0": ends[1],
        "start1": ends[2],
        "stop1": ends[3],
    }
    assert ReportDays(DAYS, []).left_over("hour") == "(false)"

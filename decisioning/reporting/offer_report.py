"""The report on offers: what it is grouped by, its rates, and its lift against a control group. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

from bandits.intervals import Z95, mean_interval, newcombe_interval, wilson_interval

Dimension = Literal[
    "day",
    "week",
    "month",
    "offer",
    "group",
    "goal",
    "channel",
    "placement",
    "segment",
    "treatment",
    "policy",
    "control_group",
]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
PERIODS: tuple[Dimension, ...] = ("day", "week", "month")
COUNTS = (
    "decided",
    "open",
    "presented",
    "clicked",
    "accepted",
    "rejected",
    "ignored",
    "unobserved",
    "value",
)
SQUARES = ("value_squares", "unsquared")
"""The sum of the squares of what each offer of a decision brought, and how many closed offers it does not cover."""
FIGURES: Mapping[str, type] = {
    **dict.fromkeys(COUNTS[:-1], int),
    "value": float,
    "observed": int,
    **dict.fromkeys(("rate", "low", "high"), float),
    **dict.fromkeys(("control_observed", "control_accepted"), int),
    **dict.fromkeys(("lift", "lift_low", "lift_high"), float),
    **dict.fromkeys(("difference", "difference_low", "difference_high"), float),
    **dict.fromkeys(("value_mean", "value_low", "value_high"), float),
}
"""The figures of a row with their types, in the order of files."""
TREATED = ("champion", "canary")
"""The groups that a control group is compared with where a report is not by control group."""
_ONLY_IN_LOG = {"segment", "treatment"}
_DECIDES_APART = {"policy", "control_group"}
"""Each control group has a policy of its own: by policy there would be nothing to compare with."""
_FIRST_DAY = date(2015, 1, 1)


@dataclass(frozen=True, slots=True)
class ReportScope:
    """The decisions of a report: from ``since`` to before ``until``, days of the time zone ``zone``."""

    zone: str = "UTC"
    since: datetime | None = None
    until: datetime | None = None
    offer: str | None = None
    placement: str | None = None

    @classmethod
    def of_days(
        cls,
        zone: str,
        since: date | None,
        until: date | None,
        offer: str | None = None,
        placement: str | None = None,
    ) -> "ReportScope":
        """Make the scope of days; ``until`` is the first day that is left out."""
        bounds = [None if day is None else _midnight(day, zone) for day in (since, until)]
        return cls(zone, bounds[0], bounds[1], offer, placement)

    def needs_log(self, by: Iterable[str]) -> bool:
        """Return whether the roll-up, which has whole hours of UTC, cannot tell what a report is grouped by."""
        if not _ONLY_IN_LOG.isdisjoint(by):
            return True
        bounds = [at for at in (self.since, self.until) if at is not None]
        if any(at.minute or at.second for at in bounds):
            return True
        return not set(PERIODS).isdisjoint(by) and not _has_whole_hours(self.zone)


def _midnight(day: date, zone: str) -> datetime:
    """Return when a day begins, in UTC, to the second: where clocks skip midnight, the first moment of the day."""
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def _has_whole_hours(zone: str) -> bool:
    """Return whether a zone has been whole hours from UTC, looked at every fortnight of the last years and the next."""
    info = ZoneInfo(zone)
    start = datetime.combine(_FIRST_DAY, time(), UTC)
    offsets = ((start + timedelta(days=14 * n)).astimezone(info).utcoffset() for n in range(26 * 35))
    return all(offset is not None and offset.total_seconds() % 3600 == 0 for offset in offsets)


def report_rows(
    counted: Sequence[Mapping[str, Any]], by: Sequence[Dimension], against: str
) -> list[dict[str, Any]]:
    """Make the rows of a report of counts by ``by`` and by control group.

    Each row gets ``observed``, the rate accepted / observed with Wilson's 95 % interval, and its lift against the
    rows of the control group ``against`` that are alike in all else but the policy. Where ``by`` lacks the control
    group, ``champion`` and ``canary`` together are compared with it. The mean value of an observed offer has an
    interval if the squares of all closed offers are known.
    """
    own: dict[tuple[Any, ...], dict[str, Any]] = {}
    squares: dict[tuple[Any, ...], list[float]] = {}
    treated: dict[tuple[Any, ...], list[int]] = {}
    controls: dict[tuple[Any, ...], list[int]] = {}
    alike = [name for name in by if name not in _DECIDES_APART]
    for row in counted:
        key = tuple(row[name] for name in by)
        into = own.setdefault(key, {name: row[name] for name in by} | dict.fromkeys(COUNTS, 0))
        for name in COUNTS:
            into[name] += row[name]
        squares[key] = [
            sum_ + row[name] for sum_, name in zip(squares.get(key, (0, 0)), SQUARES, strict=True)
        ]
        observed = row["accepted"] + row["rejected"] + row["ignored"]
        if row["control_group"] == against:
            _add(controls, tuple(row[name] for name in alike), row["accepted"], observed)
        if row["control_group"] in TREATED or "control_group" in by:
            _add(treated, key, row["accepted"], observed)
    rows = []
    for key, row in own.items():
        observed = row["accepted"] + row["rejected"] + row["ignored"]
        rate, low, high = wilson_interval(row["accepted"], observed)
        row |= {"observed": observed, "rate": rate, "low": low, "high": high}
        control = controls.get(tuple(row[name] for name in alike), [0, 0])
        row |= _compare(treated.get(key, [0, 0]), control)
        value_squares, unsquared = squares[key]
        of_value = mean_interval(row["value"], None if unsquared else value_squares, observed)
        row |= zip(("value_mean", "value_low", "value_high"), of_value, strict=True)
        rows.append(row)
    return rows


def _add(to: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], accepted: int, observed: int) -> None:
    sums = to.setdefault(key, [0, 0])
    sums[0] += accepted
    sums[1] += observed


def _compare(treated: Sequence[int], control: Sequence[int]) -> dict[str, Any]:
    difference, low, high = newcombe_interval(*treated, *control)
    lift, lift_low, lift_high = lift_interval(*treated, *control)
    return {
        "control_observed": control[1],
        "control_accepted": control[0],
        "lift": lift,
        "lift_low": lift_low,
        "lift_high": lift_high,
        "difference": difference,
        "difference_low": None if difference is None else low,
        "difference_high": None if difference is None else high,
    }


def lift_interval(
    accepted: int, observed: int, control_accepted: int, control_observed: int
) -> tuple[float | None, float | None, float | None]:
    """Return a rate as a share of the control's, less 1, with its 95 % interval: ``(lift, low, high)``.

    Katz et al., *Obtaining confidence intervals for the risk ratio in cohort studies*, Biometrics 34 (1978): normal on
    the logarithm of the ratio. ``None`` for what is not known: the lift without acceptances of the control, the
    interval without any of either.
    """
    if not observed or not control_accepted:
        return None, None, None
    ratio = accepted / observed / (control_accepted / control_observed)
    if not accepted:
        return ratio - 1, None, None
    error = math.sqrt(1 / accepted - 1 / observed + 1 / control_accepted - 1 / control_observed)
    return ratio - 1, ratio * math.exp(-Z95 * error) - 1, ratio * math.exp(Z95 * error) - 1


def table_columns(
    rows: Sequence[Mapping[str, Any]], by: Sequence[Dimension]
) -> Iterator[tuple[str, type, list[Any]]]:
    """Yield the columns of a report as a table: name, type and values."""
    for name in by:
        yield name, date if name in PERIODS else str, [row[name] for row in rows]
    for figure, type_ in FIGURES.items():
        yield figure, type_, [row[figure] for row in rows]

"""The report on offers: what it is grouped by, its rates, and its lift against a control group. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from numpy.typing import NDArray

from bandits.intervals import Z95, Floats, each, known, mean_intervals, newcombe_intervals, wilson_intervals

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
_SUMMED = (*COUNTS, *SQUARES)
_FLOATS = {"value", "value_squares"}
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


@cache
def _has_whole_hours(zone: str) -> bool:
    """Return whether a zone has been whole hours from UTC, looked at every fortnight of the last years and the next."""
    info = ZoneInfo(zone)
    start = datetime.combine(_FIRST_DAY, time(), UTC)
    offsets = ((start + timedelta(days=14 * n)).astimezone(info).utcoffset() for n in range(26 * 35))
    return all(offset is not None and offset.total_seconds() % 3600 == 0 for offset in offsets)


def report_columns(counted: Mapping[str, Any], by: Sequence[Dimension], against: str) -> dict[str, list[Any]]:
    """Make the columns of a report, ``by`` and ``FIGURES``, of the columns of counts by ``by`` and by control group.

    ``counted``: lists of dimensions, and ``COUNTS`` and ``SQUARES`` of shape ``(n,)``.

    Each row gets ``observed``, the rate accepted / observed with Wilson's 95 % interval, and its lift against the
    rows of the control group ``against`` that are alike in all else but the policy. Where ``by`` lacks the control
    group, ``champion`` and ``canary`` together are compared with it. The mean value of an observed offer has an
    interval if the squares of all closed offers are known.
    """
    groups = counted["control_group"]
    counts: dict[str, NDArray[Any]] = {
        name: np.asarray(counted[name], np.float64 if name in _FLOATS else np.int64) for name in _SUMMED
    }
    counts["observed"] = counts["accepted"] + counts["rejected"] + counts["ignored"]
    row_of, keys = _number([counted[name] for name in by], len(groups))
    columns = (
        {name: [*values] for name, values in zip(by, zip(*keys, strict=True), strict=True)} if keys else {}
    )
    alike = [counted[name] for name in by if name not in _DECIDES_APART]
    pair_of, pairs = _number(alike, len(groups))
    of_control = np.array([group == against for group in groups], bool)
    treated = np.array(["control_group" in by or group in TREATED for group in groups], bool)

    sums = {name: _sum(values, row_of, len(keys)) for name, values in counts.items()}
    # The rows that are alike are compared with the same control group.
    pair_of_row = np.zeros(len(keys), np.int64)
    pair_of_row[row_of] = pair_of
    names = ("accepted", "observed")
    ours = [_sum(np.where(treated, counts[name], 0), row_of, len(keys)) for name in names]
    control = [
        _sum(np.where(of_control, counts[name], 0), pair_of, len(pairs))[pair_of_row] for name in names
    ]

    figures: dict[str, NDArray[Any]] = {name: sums[name] for name in (*COUNTS, "observed")}
    accepted, observed = (sums[name].astype(np.float64) for name in names)
    figures |= zip(("rate", "low", "high"), wilson_intervals(accepted, observed), strict=True)
    figures |= {"control_accepted": control[0], "control_observed": control[1]}
    treated_accepted, treated_observed, of_accepted, of_observed = (
        values.astype(np.float64) for values in (*ours, *control)
    )
    figures |= _compare(treated_accepted, treated_observed, of_accepted, of_observed)
    squares = np.where(sums["unsquared"] != 0, np.nan, sums["value_squares"])
    of_value = mean_intervals(sums["value"], squares, observed)
    figures |= zip(("value_mean", "value_low", "value_high"), of_value, strict=True)
    return {name: columns.get(name, []) for name in by} | {name: known(figures[name]) for name in FIGURES}


def _number(columns: Sequence[Sequence[Any]], rows: int) -> tuple[NDArray[np.int64], list[tuple[Any, ...]]]:
    """Number the distinct rows of some columns in the order in which they come: the number of each row, and those."""
    numbers: dict[tuple[Any, ...], int] = {}
    keys = zip(*columns, strict=True) if columns else [()] * rows
    found = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return found, list(numbers)


def _sum(values: NDArray[Any], into: NDArray[np.int64], rows: int) -> NDArray[Any]:
    """Sum ``values`` by the row that each belongs to."""
    sums = np.zeros(rows, values.dtype)
    np.add.at(sums, into, values)
    return sums


def _compare(
    accepted: Floats, observed: Floats, control_accepted: Floats, control_observed: Floats
) -> dict[str, Floats]:
    """Compare rates with those of the control group."""
    counts = accepted, observed, control_accepted, control_observed
    difference, low, high = newcombe_intervals(*counts)
    unknown = np.isnan(difference)
    lift, lift_low, lift_high = lift_intervals(*counts)
    return {
        "lift": lift,
        "lift_low": lift_low,
        "lift_high": lift_high,
        "difference": difference,
        "difference_low": np.where(unknown, np.nan, low),
        "difference_high": np.where(unknown, np.nan, high),
    }


def lift_intervals(
    accepted: Floats, observed: Floats, control_accepted: Floats, control_observed: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return rates as a share of the control's, less 1, with their 95 % intervals: arrays of shape ``(n,)``.

    Katz et al., *Obtaining confidence intervals for the risk ratio in cohort studies*, Biometrics 34 (1978): normal on
    the logarithm of the ratio. NaN for what is not known: the lift without acceptances of the control, the interval
    without any of either.
    """
    with np.errstate(all="ignore"):
        ratio = accepted / observed / (control_accepted / control_observed)
        ratio[(observed == 0) | (control_accepted == 0)] = np.nan
        error = np.sqrt(1 / accepted - 1 / observed + 1 / control_accepted - 1 / control_observed)
    error[(accepted == 0) | np.isnan(ratio)] = np.nan
    low, high = (ratio * each(math.exp, z * error) - 1 for z in (-Z95, Z95))
    return ratio - 1, low, high


def rows_of(columns: Mapping[str, Sequence[Any]]) -> Iterator[msgspec.Struct]:
    """Yield the rows of columns, with fields of their names: made and written twice as fast as mappings."""
    row = msgspec.defstruct("Row", [(name, Any) for name in columns], gc=False)
    return map(row, *columns.values())


def table_columns(
    columns: Mapping[str, list[Any]], by: Sequence[Dimension]
) -> Iterator[tuple[str, type, list[Any]]]:
    """Yield the columns of a report as a table: name, type and values."""
    for name in by:
        yield name, date if name in PERIODS else str, columns[name]
    for figure, type_ in FIGURES.items():
        yield figure, type_, columns[figure]

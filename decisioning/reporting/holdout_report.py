"""The report on a hold-out: what customers did who were held out, and all others; differences with intervals. Pure.

The customer is the independent unit: figures are sums for each customer. A report may be divided by what is known of a
customer's first decision or firing in its span, which comes before what offering does.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal, NamedTuple, get_args

from bandits.intervals import Z95
from decisioning.holdouts.holdout import Holdout
from decisioning.reporting.offer_report import PERIODS

HoldoutDimension = Literal["day", "week", "month", "channel", "placement", "segment", "control_group"]
HOLDOUT_DIMENSIONS: tuple[HoldoutDimension, ...] = get_args(HoldoutDimension)
OF_OFFERS = ("offer", "group", "goal", "treatment")
"""Dimensions of other reports under which nobody who is held out could be counted."""
OUTCOMES = ("acceptances", "value")
"""The measures that every report has; those of events follow."""
MIN_CUSTOMERS = 100
MAX_OPEN_SHARE = 0.1
RATIO_LEVEL = 0.001
MIN_EXPECTED = 5
FIGURES = (
    *("treated_total", "treated_mean", "held_out_total", "held_out_mean"),
    *("difference", "difference_low", "difference_high"),
    *("incremental", "incremental_low", "incremental_high"),
    *("ratio", "ratio_low", "ratio_high"),
)
"""The figures of a measure, in the order of files."""
Part = str | date | None
"""The value of a dimension; ``None`` if the log does not tell it, or for customers who were in no segment."""
Interval = tuple[float | None, float | None, float | None]
"""An estimate with the ends of its 95 % interval; ``None`` for what is not known."""


class Moments(NamedTuple):
    """A sum over customers, and the variance between them (with n - 1); ``None`` with fewer than two."""

    total: float
    variance: float | None


@dataclass(frozen=True, slots=True)
class Side:
    """The customers of one side who asked, or for whom a trigger fired.

    ``open`` and ``closed``: their offers, by their reward window.
    """

    customers: int = 0
    open: int = 0
    closed: int = 0
    measures: Mapping[str, Moments] = field(default_factory=dict)

    def of(self, measure: str) -> Moments:
        """Return the moments of a measure."""
        return self.measures.get(measure, Moments(0.0, None))

    def mean(self, measure: str) -> float | None:
        """Return the mean for each customer; ``None`` without any."""
        return self.of(measure).total / self.customers if self.customers else None


class Sides(NamedTuple):
    """The customers who were treated, and those who were held out."""

    treated: Side = Side()
    held_out: Side = Side()


class Revision(NamedTuple):
    """A hold-out as it was published at a version of the catalogue, at ``at_ms``; ``None``: it was deleted."""

    version: int
    at_ms: int
    holdout: Holdout | None
    holdout_id: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """The decisions of a report: from ``start_ms`` to before ``stop_ms``, made by a catalogue from ``version`` on.

    ``changed``: that version was not the first; before it somebody else may have been held out.
    """

    version: int
    start_ms: int
    stop_ms: int
    changed: bool


def span_of(
    revisions: Sequence[Revision], since_ms: int | None, until_ms: int | None, now_ms: int
) -> Span | None:
    """Find what a report may count: the same customers have been held out from the same offers all the time.

    ``revisions``: the newest first. ``None`` if there is no such hold-out.
    """
    if not revisions or revisions[0].holdout is None:
        return None
    newest, first = revisions[0].holdout, revisions[0]
    for before in revisions[1:]:
        if before.holdout is None or not _goes_on(before.holdout, newest, first.at_ms):
            break
        first = before
    start_ms = max(first.at_ms, newest.starts_ms, since_ms or 0)
    stop_ms = min(now_ms + 1, newest.ends_ms, now_ms + 1 if until_ms is None else until_ms)
    changed = first is not revisions[-1] and (since_ms is None or since_ms < first.at_ms)
    return Span(first.version, start_ms, max(start_ms, stop_ms), changed)


def _goes_on(before: Holdout, after: Holdout, changed_at_ms: int) -> bool:
    """Return whether a change left alone who is held out from what."""
    return _withheld(before) == _withheld(after) and before.ends_ms > changed_at_ms


def _withheld(holdout: Holdout) -> tuple[Any, ...]:
    exempt = frozenset(holdout.exempt_goals), frozenset(holdout.exempt_groups)
    return holdout.share, holdout.goal, holdout.starts_ms, *exempt


def in_force_within(revisions: Iterable[Revision], span: Span) -> list[Holdout]:
    """List hold-outs as they were at any time of a span, also those that are deleted or changed by now.

    ``revisions``: of all hold-outs, the newest first.
    """
    found: list[Holdout] = []
    ends_ms: dict[str, int] = {}
    for revision in revisions:
        until_ms = ends_ms.get(revision.holdout_id, span.stop_ms)
        ends_ms[revision.holdout_id] = revision.at_ms
        if revision.holdout is not None and revision.at_ms < span.stop_ms and until_ms > span.start_ms:
            found.append(revision.holdout)
    return found


def others_excluded(holdout: Holdout, holdouts: Iterable[Holdout]) -> list[str]:
    """Return the other hold-outs that withhold the same from their customers, or everything.

    Who is in one of them is on neither side of the report.
    """
    excluded = (
        other.holdout_id
        for other in holdouts
        if other.holdout_id != holdout.holdout_id and other.goal in (None, holdout.goal)
    )
    return list(dict.fromkeys(excluded))


def measure_rows(treated: Side, held_out: Side, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Make the rows of a report: each measure by side, with ``FIGURES``."""
    rows = []
    for measure in measures:
        difference = welch_interval(treated, held_out, measure)
        row: dict[str, Any] = {"measure": measure}
        for name, side in (("treated", treated), ("held_out", held_out)):
            row |= {f"{name}_total": side.of(measure).total, f"{name}_mean": side.mean(measure)}
        row |= _named("difference", difference)
        row |= _named("incremental", _scaled(difference, treated.customers))
        rows.append(row | _named("ratio", ratio_interval(treated, held_out, measure)))
    return rows


def part_rows(
    parts: Mapping[Part, Sides], by: HoldoutDimension, share: float, measures: Sequence[str], span: Span
) -> list[dict[str, Any]]:
    """Make a row for each part of the customers, in the order of its values: both sides, and ``measure_rows``."""
    within = replace(span, changed=False)  # a change is said once, of the whole report
    return [
        {by: part} | side_figures(sides, share, measures, within)
        for part, sides in sorted(parts.items(), key=lambda item: (item[0] is None, str(item[0])))
    ]


def side_figures(sides: Sides, share: float, measures: Sequence[str], span: Span) -> dict[str, Any]:
    """Compare two sides: how many customers they have, the measures, and warnings."""
    treated, held_out = sides
    return {
        "treated": treated.customers,
        "held_out": held_out.customers,
        "sample_ratio_p": ratio_test(treated.customers, held_out.customers, share),
        "open": treated.open + held_out.open,
        "measures": measure_rows(treated, held_out, measures),
        "warnings": [
            {"code": code, "message": message}
            for code, message in warnings_of(treated, held_out, share, span)
        ],
    }


def table_columns(found: Mapping[str, Any]) -> Iterator[tuple[str, type, list[Any]]]:
    """Yield the columns of a report as a table, a row for each measure (of each part): name, type and values."""
    by: HoldoutDimension | None = found.get("by")
    parts = [found] if by is None else found["rows"]
    rows = [(part, measure) for part in parts for measure in part["measures"]]
    if by is not None:
        yield by, date if by in PERIODS else str, [part[by] for part, _ in rows]
    yield "measure", str, [measure["measure"] for _, measure in rows]
    if by is not None:
        for name, type_ in (("treated", int), ("held_out", int), ("sample_ratio_p", float), ("open", int)):
            yield name, type_, [part[name] for part, _ in rows]
    for name in FIGURES:
        yield name, float, [measure[name] for _, measure in rows]


def _named(name: str, interval: Interval) -> dict[str, float | None]:
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _scaled(interval: Interval, factor: int) -> Interval:
    value, low, high = (None if one is None else one * factor for one in interval)
    return value, low, high


def welch_interval(treated: Side, held_out: Side, measure: str) -> Interval:
    """Return the difference of the means for each customer, treated less held out, with its 95 % interval.

    Welch, *The generalization of 'Student's' problem when several different population variances are involved*,
    Biometrika 34 (1947). No interval where a side has fewer than two customers, or nothing varies.
    """
    from scipy.special import stdtrit  # takes long to import, and most processes do without it

    mean, other = treated.mean(measure), held_out.mean(measure)
    if mean is None or other is None:
        return None, None, None
    parts = _variances_of_means(treated, held_out, measure)
    if parts is None:
        return mean - other, None, None
    error = math.sqrt(sum(parts))
    sizes = (treated.customers, held_out.customers)
    freedom = sum(parts) ** 2 / sum(p * p / (n - 1) for p, n in zip(parts, sizes, strict=True))
    half = float(stdtrit(freedom, 0.975)) * error
    return mean - other, mean - other - half, mean - other + half


def ratio_interval(treated: Side, held_out: Side, measure: str) -> Interval:
    """Return the ratio of the means for each customer, treated by held out, with its 95 % interval.

    Normal on the logarithm, whose variance is that of the delta method (Casella and Berger, *Statistical Inference*,
    2nd edition, section 5.5.4). ``None`` unless both means are positive.
    """
    mean, other = treated.mean(measure), held_out.mean(measure)
    if mean is None or other is None or mean <= 0 or other <= 0:
        return None, None, None
    parts = _variances_of_means(treated, held_out, measure)
    if parts is None:
        return mean / other, None, None
    half = Z95 * math.sqrt(parts[0] / mean**2 + parts[1] / other**2)
    # Beyond the range of floats nothing is known of that end.
    high = mean / other * math.exp(half) if half < 500 else None
    return mean / other, mean / other * math.exp(-half), high


def _variances_of_means(treated: Side, held_out: Side, measure: str) -> tuple[float, float] | None:
    found = []
    for side in (treated, held_out):
        variance = side.of(measure).variance
        if variance is None or side.customers < 2:
            return None
        found.append(variance / side.customers)
    return (found[0], found[1]) if sum(found) > 0 else None


def ratio_test(treated: int, held_out: int, share: float) -> float | None:
    """Return the p-value of the numbers of customers under the hold-out's share; ``None`` if they are too few.

    Pearson's chi-squared test with one degree of freedom: a small one says that something else than chance decided who
    is counted (Fabijan et al., *Diagnosing sample ratio mismatch in online controlled experiments*, KDD 2019).
    """
    total = treated + held_out
    if total * share < MIN_EXPECTED:
        return None
    squared = (held_out - total * share) ** 2 / (total * share * (1 - share))
    return math.erfc(math.sqrt(squared / 2))


def warnings_of(treated: Side, held_out: Side, share: float, span: Span) -> Iterator[tuple[str, str]]:
    """Yield what makes the report less than it looks: a code, and a sentence."""
    if span.changed:
        yield (
            "changed",
            "what it withholds, or from whom, was changed: only what came after the last such change is counted,"
            " and customers may still act on what they were offered before",
        )
    few = min(treated.customers, held_out.customers)
    if few < MIN_CUSTOMERS:
        yield (
            "few",
            f"one side has {few} customers: with fewer than {MIN_CUSTOMERS}, intervals are rough",
        )
    p = ratio_test(treated.customers, held_out.customers, share)
    if p is not None and p < RATIO_LEVEL:
        found = held_out.customers / (treated.customers + held_out.customers)
        yield (
            "sample_ratio",
            f"{found:.2%} of the customers were held out where {share:.2%} should be (p = {p:.1g}): something else"
            " than chance decides who is counted, so do not trust the differences",
        )
    waiting, known = treated.open + held_out.open, treated.closed + held_out.closed
    if waiting > MAX_OPEN_SHARE * (waiting + known):
        yield (
            "open",
            f"{waiting} of {waiting + known} offers have an open reward window: what comes of them is missing",
        )

"""Judges what alerts find, and the change of state that follows. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bandits.intervals import newcombe_interval, wilson_interval
from bandits.monitoring.diagnostics import diagnose_exploration
from decisioning.catalog.alert import Alert

MIN_OBSERVED = 30
"""Offers observed before and now, without which a drop of acceptance is not judged."""
MIN_DECISIONS = 20
"""Decisions, without which a share of degraded ones is not judged."""
MIN_SELECTED = 200
"""Offers selected, without which exploration is not judged."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of an alert on a ``subject``. ``firing`` is ``None`` if there is too little to judge by."""

    subject: str
    value: float
    firing: bool | None
    message: str


@dataclass(frozen=True, slots=True)
class AlertChange:
    """The state of an alert and a subject to be kept. ``turned``: it began to fire, or ended."""

    finding: Finding
    firing: bool
    turned: bool


@dataclass(frozen=True, slots=True)
class OfferCounts:
    """Selections of an offer by a policy: ``selected`` lately; ``accepted`` of ``observed`` in closed windows."""

    offer_id: str
    selected: int
    accepted: int
    observed: int


def changes_of(findings: Iterable[Finding], known: Mapping[str, bool]) -> Iterator[AlertChange]:
    """Compare findings with what is ``known`` by subject (True: firing).

    Nothing is said of a subject that never fired; one that fires and is not found any more is resolved.
    """
    seen = set()
    for finding in findings:
        seen.add(finding.subject)
        before = known.get(finding.subject)
        now = before if finding.firing is None else finding.firing
        if now or before is not None:
            yield AlertChange(finding, bool(now), bool(now) != bool(before))
    for subject in sorted(subject for subject, firing in known.items() if firing and subject not in seen):
        yield AlertChange(Finding(subject, 0.0, False, "there is nothing of it any more"), False, True)


def acceptance_finding(subject: str, alert: Alert, before: tuple[int, int], now: tuple[int, int]) -> Finding:
    """Judge a drop of acceptance. ``before``, ``now``: accepted and observed of closed windows.

    It fires if the rate fell by the threshold, as a share of what it was, and Newcombe's 95 % interval of the
    difference lies below 0. ``value``: that share; negative if acceptance rose.
    """
    rate_before, rate = before[0] / max(before[1], 1), now[0] / max(now[1], 1)
    drop = (rate_before - rate) / rate_before if rate_before else 0.0
    said = f"acceptance was {rate:.4f} of {now[1]} offers, after {rate_before:.4f} of {before[1]}"
    if min(before[1], now[1]) < MIN_OBSERVED:
        return Finding(subject, drop, None, said)
    _, _, high = newcombe_interval(*now, *before)
    return Finding(subject, drop, drop >= alert.limit and high < 0, said)


def exploration_finding(subject: str, alert: Alert, offers: Sequence[OfferCounts]) -> Finding:
    """Judge whether a policy gave up offers that may be as good as its favourite (``diagnose_exploration``).

    ``value``: the favourite's share of the selections lately.
    """
    selected = sum(offer.selected for offer in offers)
    if selected < MIN_SELECTED or len(offers) < 2:
        return Finding(subject, 0.0, None, f"{selected} offers were selected: too few to judge by")
    intervals = [wilson_interval(offer.accepted, offer.observed) for offer in offers]
    shares = [offer.selected / selected for offer in offers]
    found = diagnose_exploration(
        [rate or 0.0 for rate, _, _ in intervals],
        [low for _, low, _ in intervals],
        [high for _, _, high in intervals],
        [offer.observed for offer in offers],
        shares,
        concentrated=max(alert.limit, 0.01),
    )
    given_up = [offers[row].offer_id for row in found.neglected]
    favourite = max(range(len(offers)), key=shares.__getitem__)
    said = f"{offers[favourite].offer_id} has {shares[favourite]:.1%} of {selected} selections"
    if given_up:
        said += f", and {', '.join(given_up[:5])}, which may be as good, hardly any"
    return Finding(subject, shares[favourite], bool(given_up), said)


def degraded_finding(subject: str, alert: Alert, degraded: int, decisions: int) -> Finding:
    """Judge the share of degraded decisions."""
    share = degraded / max(decisions, 1)
    said = f"{degraded} of {decisions} decisions were degraded"
    enough = decisions >= MIN_DECISIONS
    return Finding(subject, share, share >= alert.limit and degraded > 0 if enough else None, said)

"""Changes of acceptance in a whole stream of outcomes."""

from collections.abc import Iterable, Iterator

from bandits.monitoring.change_detection import AcceptanceChangeDetector, Detection, OfferReward


def detect_changes(
    outcomes: Iterable[OfferReward], delta: float = 0.02, grace_period: int = 100
) -> Iterator[Detection]:
    """Yield the changes that ``AcceptanceChangeDetector`` finds in ``outcomes``, in their order."""
    watch = AcceptanceChangeDetector(delta, grace_period)
    for outcome in outcomes:
        found = watch.observe(outcome)
        if found is not None:
            yield found

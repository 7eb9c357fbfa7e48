"""Drift of acceptance in one placement: results in their order in, detections out. Pure."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from bandits.monitoring.change_detection import AcceptanceChangeDetector, Detection, OfferReward
from decisioning.rollout.results import Result

MAX_OFFERS = 5000
"""Watched at a time. The one that was shown least recently is forgotten if there are more."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of an offer's acceptance. ``decision_id``: the decision that revealed it."""

    decision_id: str
    detection: Detection


@dataclass(frozen=True, slots=True)
class AcceptanceWindow:
    """The present acceptance of an offer: of decisions from ``since_ms`` to ``until_ms`` (Unix ms)."""

    offer_id: str
    observations: int
    acceptances: float
    since_ms: int
    until_ms: int


class PlacementDrift:
    """Watches the offers of a placement. The same results give the same detections.

    ``settled``: by offer, time (Unix ms) and id of the decision that revealed its last known change. Results up to
    there are passed over, so a watch that is built again from the log goes on where the one before it stood.
    """

    def __init__(self, settled: Mapping[str, tuple[int, str]] | None = None) -> None:
        self._drift = AcceptanceChangeDetector()
        self._settled = dict(settled or {})
        self._spans: OrderedDict[str, tuple[int | None, int]] = OrderedDict()
        self._changed: set[str] = set()

    def take(self, result: Result) -> list[Drift]:
        """Take in the next result, and return the changes that it revealed."""
        # By the time of the decision: silence is known later than acceptance, and must not look like a change.
        at_ms = result.made.at_ms
        found: list[Drift] = []
        for offer_id, accepted in result.accepted.items():
            if self._is_settled(offer_id, at_ms, result.made.decision_id):
                continue
            since_ms = self._spans.pop(offer_id, (None, at_ms))[0] or at_ms
            detection = self._drift.observe(OfferReward(offer_id, at_ms / 1000, float(accepted)))
            self._changed.add(offer_id)
            if detection is not None:
                found.append(Drift(result.made.decision_id, detection))
            # After a change the window begins anew, with the next result.
            self._spans[offer_id] = (None if detection else since_ms, at_ms)
        while len(self._spans) > MAX_OFFERS:
            forgotten, _ = self._spans.popitem(last=False)
            self._drift.forget(forgotten)
            self._changed.discard(forgotten)
        return found

    def pop_changed(self) -> list[AcceptanceWindow]:
        """Return the windows that have changed since the last call, by offer, and note that they were asked for."""
        windows = []
        for offer_id in sorted(self._changed):
            width, rate = self._drift.width(offer_id), self._drift.rate(offer_id)
            since_ms, until_ms = self._spans[offer_id]
            since_ms = until_ms if since_ms is None else since_ms
            windows.append(AcceptanceWindow(offer_id, width, width * (rate or 0.0), since_ms, until_ms))
        self._changed.clear()
        return windows

    def _is_settled(self, offer_id: str, at_ms: int, decision_id: str) -> bool:
        last = self._settled.get(offer_id)
        if last is None:
            return False
        if at_ms > last[0] or decision_id == last[1]:
            del self._settled[offer_id]
        return at_ms <= last[0]

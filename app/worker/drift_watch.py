"""The watch for drift in the acceptance of every offer in every placement."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_hex

from app.metrics import DRIFTS
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.rollout.drift import Drift, PlacementDrift
from decisioning.rollout.results import MadeDecision, results_in_order
from decisioning.rollout.store_drift import DriftStore, DriftTurn
from decisioning.rollout.store_results import LogPlace, archived_until_ms
from storage.clock import to_datetime

log = logging.getLogger(__name__)

BATCH_SIZE = 500


@dataclass(slots=True)
class _Watched:
    """A placement that is watched. What is found up to the place ``stored`` is known already."""

    drift: PlacementDrift
    place: LogPlace
    stored: LogPlace | None

    def known(self, made: MadeDecision) -> bool:
        """Return whether a decision that is read again was watched before."""
        if self.stored is None:
            return False
        if LogPlace.behind(made) == self.stored or to_datetime(made.at_ms) > self.stored.at:
            done, self.stored = self.stored, None
            return to_datetime(made.at_ms) <= done.at
        return True


@dataclass
class DriftWatch:
    """Watch for drift. Of several, one is at work. Its state is a fold of the log, built anew if another takes over."""

    store: DriftStore
    reader: LogReader
    archive: ArchiveReader
    clock_ms: Callable[[], int]
    interval_s: float
    horizon_s: int
    _owner: str = field(default_factory=lambda: token_hex(8), init=False)
    _watched: dict[str, _Watched] = field(default_factory=dict, init=False)

    async def round(self) -> float:
        """Watch what came; return how long to sleep (0 while there is more). Raises ``Unavailable``."""
        until_ms = await archived_until_ms(self.reader, self.archive, self.clock_ms())
        found: dict[str, list[Drift]] = {}
        more = False
        try:
            async with self.store.turn(self._owner) as turn:
                if turn is None:
                    self._watched.clear()
                    return self.interval_s
                for placement, stored in (await turn.placements()).items():
                    found[placement], full = await self._watch(turn, placement, stored, until_ms)
                    more |= full
        except BaseException:
            self._watched.clear()  # what was written is not known: read it again
            raise
        self._report(found)
        return 0.0 if more else self.interval_s

    async def _watch(
        self, turn: DriftTurn, placement: str, stored: LogPlace | None, until_ms: int
    ) -> tuple[list[Drift], bool]:
        """Watch the next decisions of a placement; return what was found, and whether there may be more."""
        watched = self._watched.get(placement)
        if watched is None or (stored is not None and stored != (watched.stored or watched.place)):
            watched = _Watched(
                PlacementDrift(await turn.last_detections(placement)),
                await turn.look_back(placement, to_datetime(until_ms) if stored is None else stored.at),
                stored,
            )
            self._watched[placement] = watched
        made = await turn.next_decisions(placement, watched.place, until_ms, BATCH_SIZE)
        results = results_in_order(made, self.horizon_s * 1000, until_ms)
        found: list[Drift] = []
        for result in results:
            known = watched.known(result.made)
            drifts = watched.drift.take(result)
            found += [] if known else drifts
        if results:
            watched.place = LogPlace.behind(results[-1].made)
            if watched.stored is None:
                # At once, in the turn's transaction: nothing is found twice, whoever watches.
                await turn.store(placement, watched.place, found, watched.drift.pop_changed())
        return found, len(results) == BATCH_SIZE

    @staticmethod
    def _report(found: dict[str, list[Drift]]) -> None:
        for placement, drifts in found.items():
            for drift in drifts:
                detection = drift.detection
                DRIFTS.labels(placement, detection.offer).inc()
                log.warning(
                    "acceptance of %s in %s changed from %.4f to %.4f",
                    detection.offer,
                    placement,
                    detection.rate_before,
                    detection.rate_after,
                )

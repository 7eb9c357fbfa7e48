"""The watch over canaries: each is judged again and again, and rolled back when its guardrails say so."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass

from app.metrics import CANARY_EVIDENCE, CANARY_OBSERVATIONS, ROLLBACKS
from decisioning.catalog.store import CatalogueStore
from decisioning.errors import PreconditionFailed
from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.rollout.guardrail import RollbackVerdict, evidence, judge
from decisioning.rollout.stages import without_canary
from decisioning.rollout.store_canary import CanaryStore, CanaryTest, RunningCanary, end_with_verdict
from decisioning.rollout.store_results import archived_until_ms

log = logging.getLogger(__name__)

AUTHOR = "guardrails"


@dataclass
class GuardrailWatch:
    """Judge canaries. Any number may run: counts move with their position."""

    canaries: CanaryStore
    catalogues: CatalogueStore
    reader: LogReader
    archive: ArchiveReader
    clock_ms: Callable[[], int]
    interval_s: float

    async def round(self) -> float:
        """Look at all canaries; return how long to sleep (0 while there is more to count). Raises ``Unavailable``."""
        running = await self.canaries.running()
        more = False
        if running:
            until_ms = await archived_until_ms(self.reader, self.archive, self.clock_ms())
            for canary in running:
                more |= await self._watch(canary, until_ms)
        await self.canaries.end_others([canary.placement for canary in running])
        return 0.0 if more else self.interval_s

    async def _watch(self, canary: RunningCanary, until_ms: int) -> bool:
        """Count and judge one canary; return whether there is more to count."""
        async with self.canaries.turn() as turn:
            if turn is None:
                return False  # another watch is at it
            test = await turn.current_test(canary)
            more = await turn.count(test, until_ms)
        # Outside of the turn: judging takes its time, and a rollback writes in a transaction of its own.
        self._set_gauges(test, canary)
        verdict = judge(test.canary, test.others, canary.deployment.guardrails, test.carried)
        if verdict is None:
            return more
        await self._roll_back(canary, test, verdict)
        return False

    async def _roll_back(self, canary: RunningCanary, test: CanaryTest, verdict: RollbackVerdict) -> None:
        body = asdict(without_canary(canary.deployment))
        del body["placement_id"]
        reason = f"canary {test.policy} rolled back: {verdict.reason}"
        try:
            await self.catalogues.put(
                "deployment",
                test.placement,
                body,
                AUTHOR,
                reason,
                canary.version,
                also=lambda connection: end_with_verdict(connection, test.test_id, verdict),
            )
        except PreconditionFailed:
            # Only what was read is changed: people who steer by hand are not overruled.
            log.info("the deployment of %s was changed meanwhile; it is looked at again", test.placement)
            return
        log.warning("%s: %s", test.placement, reason)
        ROLLBACKS.labels(test.placement, test.policy, verdict.cause).inc()
        CANARY_EVIDENCE.labels(test.placement).set(0)
        CANARY_OBSERVATIONS.labels(test.placement).set(0)

    @staticmethod
    def _set_gauges(test: CanaryTest, canary: RunningCanary) -> None:
        found = evidence(test.canary, test.others, canary.deployment.guardrails)
        CANARY_EVIDENCE.labels(test.placement).set(found.log_e + test.carried)
        CANARY_OBSERVATIONS.labels(test.placement).set(test.canary.observations)

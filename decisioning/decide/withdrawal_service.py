"""Decisions that were not delivered as they were logged are taken back, in the background."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from decisioning.decide.context import DecisionContext
from decisioning.log.ports import DecideReply, DecisionLog
from decisioning.model.decision import Decision
from storage.errors import RedisUnavailable
from storage.failures import FailureLog

log = logging.getLogger(__name__)

MAX_WITHDRAWALS = 60
WITHDRAWAL_PAUSE_S = 0.5


class Withdrawals:
    """Withdraws decisions; ``clock_ms`` gives Unix ms."""

    def __init__(self, decision_log: DecisionLog, clock_ms: Callable[[], int]) -> None:
        self._log = decision_log
        self._clock_ms = clock_ms
        self._failures = FailureLog(log)
        self._running: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Wait a little for what still runs."""
        if self._running:
            _, unfinished = await asyncio.wait(self._running, timeout=2 * WITHDRAWAL_PAUSE_S)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)

    def undo(self, context: DecisionContext, write: asyncio.Task[DecideReply], record: Decision) -> None:
        """Begin to withdraw a decision whose answer came too late to be given, if ``write`` has written it."""
        self._run(self._undo(context, write, record))

    def withdraw(self, context: DecisionContext, record: Decision) -> None:
        """Begin to withdraw a decision, of which it need not be known whether it was written."""
        self._run(self._withdraw(context, record))

    async def _undo(
        self, context: DecisionContext, write: asyncio.Task[DecideReply], record: Decision
    ) -> None:
        try:
            written = (await write).written
        except RedisUnavailable:
            written = True  # perhaps; then withdrawing does nothing
        if written:
            await self._withdraw(context, record)

    async def _withdraw(self, context: DecisionContext, record: Decision) -> None:
        """Withdraw a decision as soon as Redis answers, if that is not too long."""
        decision_id = record.decision_id
        for _ in range(MAX_WITHDRAWALS):
            try:
                await self._log.withdraw(
                    record.customer_id,
                    decision_id,
                    record.decided_at_ms,
                    self._clock_ms(),
                    context.attempt,
                    record.household,
                )
            except RedisUnavailable:
                await asyncio.sleep(WITHDRAWAL_PAUSE_S)
            else:
                return
        self._failures.note(
            "withdrawals", "decision %s was not delivered as logged and could not be taken back", decision_id
        )

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        # The loop itself holds tasks weakly only: one that nobody holds may vanish while it waits.
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

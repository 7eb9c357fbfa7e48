"""The model of a sequential policy as it was at an epoch, taught again from the archived log.

Each generation begins with a model that was taught all outcomes up to some positions in their one order (a rebuild, or
a warm start); each epoch after that with what its fold moved over, in that order. So the same lessons can be given
again. It takes as long as teaching them did, and is refused where that would be too long.
"""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from bandits.policy import PolicySpec
from bandits.sequential_policy import SequentialPolicy
from decisioning.errors import DecisioningError
from decisioning.learning.fold import teach_outcomes
from decisioning.learning.store_arms import GENERATION
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition

MAX_OUTCOMES = 200_000
"""The most outcomes that a model is taught again for one replay: more would take minutes."""


class ReplayImpossible(DecisioningError):
    """The log does not hold what a replay needs; the message says what is missing."""


class ModelReplayLog(Protocol):
    """The archived log, in order. Methods raise ``PostgresUnavailable``."""

    async def positions_at(self, policy: str, epoch: int, base: None) -> dict[int, StreamPosition] | None: ...

    async def moves(self, policy: str, first: int, last: int) -> list[tuple[int, int, StreamPosition]]: ...

    def in_order(
        self, up_to: Mapping[int, StreamPosition], *, behind: Mapping[int, StreamPosition] = ...
    ) -> AsyncIterator[list[Outcome]]: ...


class ModelReplay:
    """Teaches a model again what one policy has been taught, in the same order."""

    def __init__(
        self, log: ModelReplayLog, spec: PolicySpec, policy: SequentialPolicy, most: int = MAX_OUTCOMES
    ) -> None:
        self._log = log
        self._spec = spec
        self._policy = policy
        self._most = most
        self._taught = 0

    async def model_at(self, epoch: int) -> Any:
        """The model at ``epoch``, the same bit for bit.

        Raises ``ReplayImpossible`` if the epoch, or one before it, is not archived (yet), or too much would have to be
        taught.
        """
        first = epoch // GENERATION * GENERATION
        start = await self._log.positions_at(self._spec.key, first, None)
        moves = await self._log.moves(self._spec.key, first, epoch)
        # Every epoch must be there: with a gap the model would be taught less than it was.
        if start is None or sorted({move[0] for move in moves}) != list(range(first + 1, epoch + 1)):
            raise ReplayImpossible(
                f"the folds up to epoch {epoch} of {self._spec.key} are not archived (yet)"
            )
        model = self._policy.fresh()
        async for outcomes in self._log.in_order(start):
            await self._teach(model, outcomes)
        for outcomes in await self._later(start, moves):
            await self._teach(model, outcomes)
        return model

    async def _later(
        self, start: Mapping[int, StreamPosition], moves: list[tuple[int, int, StreamPosition]]
    ) -> list[list[Outcome]]:
        """Collect what was taught after the beginning of the generation: the outcomes of each fold, in order."""
        if not moves:
            return []
        ends: defaultdict[int, list[tuple[StreamPosition, int]]] = defaultdict(list)
        last = dict(start)
        for epoch, bucket, position in moves:
            ends[bucket].append((position, epoch))
            last[bucket] = position
        by_epoch: defaultdict[int, list[Outcome]] = defaultdict(list)
        held = 0
        async for outcomes in self._log.in_order(last, behind=start):
            held += len(outcomes)
            self._not_too_many(held)  # before it is taught: what is held until then is bounded as well
            for outcome in outcomes:
                of_bucket = ends[outcome.bucket]
                found = bisect_left(of_bucket, (outcome.position, 0))  # the first fold that reached it
                by_epoch[of_bucket[found][1]].append(outcome)
        return [by_epoch[epoch] for epoch in sorted(by_epoch)]

    async def _teach(self, model: Any, outcomes: list[Outcome]) -> None:
        self._not_too_many(self._taught + len(outcomes))
        # Pipelines may take minutes, and the event loop has to go on.
        await asyncio.to_thread(teach_outcomes, outcomes, self._spec, self._policy, model)
        self._taught += len(outcomes)

    def _not_too_many(self, outcomes: int) -> None:
        if outcomes > self._most:
            raise ReplayImpossible(
                f"{self._spec.key} had been taught more than {self._most} outcomes by then, too many to teach again"
            )

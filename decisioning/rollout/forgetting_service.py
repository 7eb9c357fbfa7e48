"""Ways to forget tried on the archived log: read in batches, and computed in threads, beside other tasks."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import cast

import numpy as np

from bandits.monitoring.paired_losses import MIN_OUTCOMES, ExpectedOutcomes, clearest_gain
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from bandits.regression.regression_policy import RegressionPolicy
from bandits.sums import OfferGroups
from decisioning.learning.prequential import (
    BATCH,
    Example,
    PrequentialModel,
    examples_of,
    fold_before,
)
from decisioning.learning.store_linearisation import find_linearisation
from decisioning.log.store_archive import ArchiveReader
from decisioning.model.outcome import Outcome
from decisioning.rollout.forgetting import (
    Forgetting,
    begin_anew,
    forgetting_of,
    margins_of,
    reason_of,
    ways_from,
    with_forgetting,
)

MAX_WINDOW = 20_000
"""The latest records of outcomes, of which there are one or two for an offer: offers are expected before learned."""
MAX_HISTORY = 200_000
"""Records that are read; of more, those of some buckets: customers fall into buckets by chance."""
CHUNK = 10 * BATCH
"""Examples that are learned in one go: a worker that is to stop waits for so long."""


class ForgettingTrial:
    """Tries ways to forget. ``horizon_s``: what is not accepted so long after the decision counts as not accepted."""

    def __init__(
        self,
        archive: ArchiveReader,
        buckets: int,
        horizon_s: int,
        max_window: int = MAX_WINDOW,
        max_history: int = MAX_HISTORY,
    ) -> None:
        self._archive = archive
        self._buckets = buckets
        self._horizon_s = horizon_s
        self._max_window, self._max_history = max_window, max_history

    async def find(self, spec: PolicySpec, groups: OfferGroups, now_ms: int) -> tuple[Forgetting, str] | None:
        """Find a way that is clearly better than that of ``spec``, and say why; ``None``: it stays.

        ``groups``: of all offers. ``now_ms``: the time up to which the log is archived. Raises ``PostgresUnavailable``.
        """
        until_ms = now_ms - 1000 * self._horizon_s
        sample = await self._sample(spec)
        start_ms = await self._archive.nth_latest_ms(
            self._max_window, until_ms, placements=spec.placements, buckets=sample
        )
        now = forgetting_of(spec)
        policy = await asyncio.to_thread(self._build, spec, now)
        make = partial(self._models, spec, groups)
        before = await asyncio.to_thread(make, ways_from(now, ()))
        window: list[Outcome] = []
        linearisation = await find_linearisation(self._archive, spec.key, policy)
        heard = self._heard(spec)
        async for outcomes in self._archive.observations(placements=spec.placements, buckets=sample):
            earlier = [outcome for outcome in outcomes if outcome.decided_at_ms < start_ms]
            window += [outcome for outcome in outcomes if start_ms <= outcome.decided_at_ms <= until_ms]
            for since_ms in sorted({way.since_ms for way in before}):
                models = [model for way, model in before.items() if way.since_ms == since_ms]
                taught = replace(heard, learn_since_ms=since_ms)
                await asyncio.to_thread(fold_before, models, earlier, taught, policy, linearisation)
        heard_of_all = replace(heard, learn_since_ms=0)
        examples = await asyncio.to_thread(examples_of, window, heard_of_all, policy)
        if len(examples) < MIN_OUTCOMES:
            return None
        return await self._compare(spec, make, before, examples)

    async def _compare(
        self,
        spec: PolicySpec,
        make: Callable[[list[Forgetting]], dict[Forgetting, PrequentialModel]],
        before: dict[Forgetting, PrequentialModel],
        examples: list[Example],
    ) -> tuple[Forgetting, str] | None:
        now = forgetting_of(spec)
        ways = ways_from(now, [example.decided_at_ms for example in examples])
        chances = []
        for way in ways:
            model = before.get(way) or (await asyncio.to_thread(make, [way]))[way]
            found = [
                await asyncio.to_thread(model.chances, examples[first : first + CHUNK])
                for first in range(0, len(examples), CHUNK)
            ]
            chances.append(np.concatenate(found))
        expected = ExpectedOutcomes(
            np.array([example.decided_at_ms for example in examples]),
            np.array([example.observation.offer for example in examples]),
            np.array([example.observation.reward for example in examples]),
            np.column_stack(chances),
        )
        gain = clearest_gain(expected, 0, margins_of(ways), begin_anew(ways))
        return None if gain is None else (ways[gain.model], reason_of(now, ways[gain.model], gain))

    async def _sample(self, spec: PolicySpec) -> list[int]:
        """Choose the buckets that are read; none: all."""
        count = await self._archive.observed(placements=spec.placements)
        if count <= self._max_history:
            return []
        return list(range(max(self._buckets * self._max_history // count, 1)))

    def _heard(self, spec: PolicySpec) -> PolicySpec:
        window_s = self._horizon_s if spec.reward_window_s is None else spec.reward_window_s
        return replace(spec, reward_window_s=min(window_s, self._horizon_s))

    def _models(
        self, spec: PolicySpec, groups: OfferGroups, ways: list[Forgetting]
    ) -> dict[Forgetting, PrequentialModel]:
        return {
            way: PrequentialModel(with_forgetting(spec, way), self._build(spec, way), groups) for way in ways
        }

    @staticmethod
    def _build(spec: PolicySpec, way: Forgetting) -> RegressionPolicy:
        return cast(RegressionPolicy, build_policy(with_forgetting(spec, way)))

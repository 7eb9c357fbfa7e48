"""The cost of river pipelines: ``python -m benchmarks.river`` prints a table of the factories that come with nextbest.

Deciding: the time to estimate one candidate. Learning: one outcome. Storing: packing and unpacking the model after
``OUTCOMES`` outcomes of ``OFFERS`` offers, and its size. And how late a timer of an event loop fires while a thread of
the same process unpacks: that is what a request feels of a model that is being replaced.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from bandits.conformance.scenarios import make_observations
from bandits.features import Feature
from bandits.policy import Candidates, PolicySpec
from bandits.registry import build_policy
from bandits.sequential_policy import ModelState, SequentialPolicy, is_sequential, teach_model
from decisioning.learning.store_follow import garbage_collection

OFFERS, OUTCOMES, CANDIDATES, REPEATS = 20, 5000, 20, 50
FACTORIES = ("logistic", "linear", "hoeffding_tree", "hoeffding_tree_regressor", "adaptive_random_forest")
FEATURES = (
    Feature("age", "numeric", "customer.age", low=18.0, high=99.0),
    Feature("balance", "numeric", "customer.balance", default=0.0),
    Feature("region", "category", "customer.region", values=("north", "south", "east", "west")),
    Feature("topics", "interests", "customer.topics", topics=("music", "sports", "travel")),
)


@dataclass(frozen=True, slots=True)
class Cost:
    """Times of one pipeline; ``late_ms``: 99th percentile and maximum of a timer while a thread unpacks."""

    factory: str
    estimate_us: float
    learn_us: float
    pack_ms: float
    unpack_ms: float
    size_kb: float
    late_ms: tuple[float, float]


def measure(factory: str) -> Cost:
    """The cost of one pipeline on this machine."""
    policy = build_policy(
        PolicySpec("bench", 1, "river", {"factory": f"bandits.river_factories:{factory}"}, FEATURES)
    )
    assert is_sequential(policy)
    model = policy.fresh()
    seen = make_observations(policy, np.arange(1, OFFERS + 1, dtype=np.uint32), OUTCOMES, 1)
    learn_s = _timed(lambda: teach_model(policy, model, seen))
    pack_s = _timed(lambda: policy.pack(model))
    blob = policy.pack(model)
    unpack_s = _timed(lambda: policy.unpack(blob))
    estimate_s = min(_timed(partial(_estimate, policy, model, i)) for i in range(REPEATS))
    return Cost(
        factory,
        estimate_s / CANDIDATES * 1e6,
        learn_s / OUTCOMES * 1e6,
        pack_s * 1e3,
        unpack_s * 1e3,
        len(blob) / 1024,
        asyncio.run(_lateness(policy, blob)),
    )


def _estimate(policy: SequentialPolicy, model: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    offers = np.arange(1, CANDIDATES + 1, dtype=np.uint32)
    facts = {"customer.age": 40.0, "customer.balance": float(rng.normal()), "customer.region": "east"}
    asked = Candidates(
        offers,
        rng.random(CANDIDATES, dtype=np.float32),
        np.ones(CANDIDATES),
        policy.encoder.encode(facts, 0),
        facts,
    )
    policy.propensities(policy.prepare(ModelState(model).read(policy, offers, 0)), asked)


async def _lateness(policy: SequentialPolicy, blob: bytes) -> tuple[float, float]:
    """Measure how late a timer of 1 ms fires (ms) while the model is unpacked again and again."""
    late = []
    until_s = time.perf_counter() + 2.0
    while time.perf_counter() < until_s:
        unpacking = asyncio.create_task(_unpack(policy, blob))
        while not unpacking.done():
            started_s = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - started_s - 0.001) * 1e3)
    return float(np.percentile(late, 99)), max(late)


async def _unpack(policy: SequentialPolicy, blob: bytes) -> None:
    with garbage_collection.put_off():  # as a follower does
        await asyncio.to_thread(policy.unpack, blob)


def _timed(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


def main() -> None:
    """Measure and print."""
    table = Table("factory", "estimate", "learn", "pack", "unpack", "size", "timer late p99 / max")
    for factory in FACTORIES:
        cost = measure(factory)
        table.add_row(
            factory,
            f"{cost.estimate_us:.0f} us a candidate",
            f"{cost.learn_us:.0f} us",
            f"{cost.pack_ms:.1f} ms",
            f"{cost.unpack_ms:.1f} ms",
            f"{cost.size_kb:.0f} KB",
            f"{cost.late_ms[0]:.1f} / {cost.late_ms[1]:.1f} ms",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

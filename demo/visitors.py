"""Simulated visitors: real households that ask for offers over HTTP and answer as the world says."""

import asyncio
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field

import numpy as np

from demo.client import ApiClient, Json
from demo.journey import Floats
from demo.names import DESK, WEB
from demo.response import draw_answer
from demo.steering import REASONS
from nextbest_client import NextbestError, Refused, Unavailable

VISITS_PER_S = 60.0
CONCURRENCY = 64
DESK_SHARE = 0.25
# Agents ask why, and not everybody says it.
REASON_SHARE = 0.8
# At the desk an offer is presented only once the agent says so. One time in ten it does not come to that.
NOT_READ_OUT_SHARE = 0.1
BATCH_SHARE = 0.2
BATCH_SIZE = 4
REPEAT_SHARE = 0.03
THINKING_S = 0.5
MAX_LATENCIES = 20_000
CONTEXTS: Mapping[str, tuple[Json, ...]] = {
    WEB: ({"page": "home"}, {"page": "search"}, {"page": "weekly-ad"}, {"page": "cart", "items": 4}),
    DESK: ({"reason": "question"}, {"reason": "return"}, {"reason": "complaint", "mood": "annoyed"}),
}


@dataclass(frozen=True, slots=True)
class Crowd:
    """The visitors. `acceptance` is customers x offers; `offers` maps ids to columns, `values` has their dollars."""

    customers: Sequence[str]
    offers: Mapping[str, int]
    acceptance: Floats
    values: Sequence[float]


@dataclass(slots=True)
class VisitTally:
    """Counts of what has happened so far.

    `feedback` and `events` count acknowledged statuses, `errors` failed calls by kind.
    """

    decisions: int = 0
    empty: int = 0
    degraded: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_LATENCIES))

    def latency_ms(self, quantile: float) -> float | None:
        """Compute a quantile of the time that recent decisions took, as visitors see it; None before the first."""
        return float(np.quantile(self.latencies_ms, quantile)) if self.latencies_ms else None


@dataclass
class Visitors:
    """Visitors who arrive, in an open loop, at `rate_per_s`, at most `concurrency` at a time, until `stop` is set.

    All draws come from one generator seeded with `seed`.
    """

    api: ApiClient
    crowd: Crowd
    seed: InitVar[int]
    rate_per_s: float = VISITS_PER_S
    concurrency: int = CONCURRENCY
    thinking_s: float = THINKING_S
    tally: VisitTally = field(default_factory=VisitTally, init=False)
    _batch: list[Json] = field(default_factory=list, init=False)

    def __post_init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    async def run(self, stop: asyncio.Event) -> None:
        """Let visitors come until `stop`, then wait for those who are inside and send what is left."""
        inside = asyncio.Semaphore(self.concurrency)
        clock = asyncio.get_running_loop().time
        next_arrival = clock()
        async with asyncio.TaskGroup() as visits:
            while not stop.is_set():
                await inside.acquire()
                visits.create_task(self._visit()).add_done_callback(lambda _: inside.release())
                # At most a second is made up for: after a stall there is no flood of visitors.
                next_arrival = max(next_arrival + 1 / self.rate_per_s, clock() - 1.0)
                await wait_or_stop(stop, next_arrival - clock())
        await self._flush()

    async def _visit(self) -> None:
        customer = int(self._random.integers(len(self.crowd.customers)))
        placement = DESK if self._random.random() < DESK_SHARE else WEB
        contexts = CONTEXTS[placement]
        context = contexts[int(self._random.integers(len(contexts)))]
        request = {
            "customer_id": self.crowd.customers[customer],
            "placement": placement,
            "context": context,
            "limit": 1,
        }
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            decision = await self.api.decide(request)
        except NextbestError as error:
            self.tally.errors[_error_kind("decisions", error)] += 1
            return
        self.tally.latencies_ms.append((clock() - started) * 1000)
        self.tally.decisions += 1
        self.tally.degraded.update(decision["degraded"])
        if not decision["offers"]:
            self.tally.empty += 1
            return
        await asyncio.sleep(float(self._random.exponential(self.thinking_s)))
        await self._answer(customer, placement, decision)

    async def _answer(self, customer: int, placement: str, decision: Json) -> None:
        offer_id = decision["offers"][0]["offer_id"]
        item = {"decision_id": decision["decision_id"], "offer_id": offer_id}
        if placement == DESK:
            if self._random.random() < NOT_READ_OUT_SHARE:
                self.tally.answers["not read out"] += 1
                return
            await self._send_feedback(item | {"outcome": "presented"})
        column = self.crowd.offers[offer_id]
        outcome = draw_answer(float(self.crowd.acceptance[customer, column]), float(self._random.random()))
        self.tally.answers[outcome or "silent"] += 1
        if outcome == "accepted":
            await self._send_feedback(item | {"outcome": outcome, "value": self.crowd.values[column]})
        elif outcome is not None:
            await self._send_feedback(item | {"outcome": outcome} | self._reason(placement))

    def _reason(self, placement: str) -> Json:
        """Draw what is said with a no: a reason, at the desk, or nothing."""
        if placement != DESK or self._random.random() >= REASON_SHARE:
            return {}
        return {"reason": tuple(REASONS)[int(self._random.integers(len(REASONS)))]}

    async def _send_feedback(self, item: Json) -> None:
        """Send an outcome: alone mostly, sometimes in a batch, sometimes twice, like a caller who is not sure."""
        if item["outcome"] != "presented" and self._random.random() < BATCH_SHARE:
            self._batch.append(item)
            if len(self._batch) >= BATCH_SIZE:
                await self._flush()
            return
        for _ in range(2 if self._random.random() < REPEAT_SHARE else 1):
            try:
                self.tally.feedback[await self.api.feedback(item)] += 1
            except NextbestError as error:
                self.tally.errors[_error_kind("feedback", error)] += 1

    async def _flush(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        try:
            self.tally.feedback.update(await self.api.feedback_batch(batch))
        except NextbestError as error:
            self.tally.errors[_error_kind("feedback", error)] += len(batch)


async def wait_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until `stop`."""
    if seconds > 0:
        try:
            await asyncio.wait_for(stop.wait(), seconds)
        except TimeoutError:
            return
    else:
        await asyncio.sleep(0)


def _error_kind(what: str, error: NextbestError) -> str:
    status = error.status if isinstance(error, Refused | Unavailable) else None
    return f"{what} {status or f'unanswered: {error}'}"

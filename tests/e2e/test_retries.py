"""Retries with the caller's own id over processes to which Redis is far away: an answer that was given stands."""

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from typing import Any

import httpx

from tests.support.gate import gate
from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.truth import wait_caught_up
from tests.support.waiting import eventually

CUSTOMERS, VISITS = 20, 2
AT_ONCE = 3
CAP = 20
DEADLINE_MS = 150
DELAY_S = 0.04
"""The longest time for which either direction of a connection is held back, so two trips to Redis may be too slow."""
ATTEMPTS = 40
ONCE_A_DAY = {"max": 1, "window_s": 86_400}


class Visitors:
    """Customers who ask with ids of their own until they get an answer that takes feedback."""

    def __init__(self, clients: list[httpx.AsyncClient]) -> None:
        self._clients = clients
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._rng = random.Random(5)
        self.logged: dict[str, dict[str, Any]] = {}
        self.given: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        """Customer and decision of every answer that had an offer, by offer, whether it takes feedback or not."""
        self.counts: Counter[str] = Counter()

    async def ask(self, process: int, customer_id: str, decision_id: str, **more: Any) -> dict[str, Any]:
        """Ask one process."""
        body = {"customer_id": customer_id, "placement": "far", "decision_id": decision_id, **more}
        response = await self._clients[process].post("/v1/decisions", json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        for offer in answer["offers"]:
            self.given[offer["offer_id"]].add((customer_id, decision_id))
        if answer["feedback_until"] is None:
            self.counts["without feedback"] += 1
        elif answer["offers"]:
            assert self.logged.setdefault(decision_id, answer) == answer
        return answer

    async def visit(self, customer_id: str, visit: int) -> None:
        """Retry with the other process each time, now and then before the first has answered."""
        decision_id = f"own-{customer_id}-{visit}"
        async with self._turns:
            await self._visit(customer_id, decision_id)

    async def _visit(self, customer_id: str, decision_id: str) -> None:
        for attempt in range(ATTEMPTS):
            asked = [self.ask(attempt % 2, customer_id, decision_id)]
            if self._rng.random() < 0.5:
                asked.append(self.ask((attempt + 1) % 2, customer_id, decision_id))
            answers = await asyncio.gather(*asked)
            if any(answer["feedback_until"] is not None for answer in answers):
                return
            self.counts["retries"] += 1
            await asyncio.sleep(self._rng.random() * 0.1)
        raise AssertionError(f"{decision_id} was never answered: {answers}")

    async def tell(self, process: int, decision_id: str, offer_id: str) -> str:
        """Tell that an offer was accepted; the status, or the error's code."""
        body = {"decision_id": decision_id, "offer_id": offer_id, "outcome": "accepted"}
        response = await self._clients[process].post("/v1/feedback", json=body)
        return str(response.json().get("status", response.text))


async def test_answers_to_retries_stand_when_redis_is_slow(installation: Installation) -> None:
    """Invariants 2 and 3: each answer takes feedback, 20 units are 20, and once a day is once."""
    rng, numbers = random.Random(3), itertools.count()
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(gate(installation.redis_url)) for _ in range(2)]
        apis = [installation.serve(redis_url=way.url) for way in ways]
        installation.work()
        for api in apis:
            await asyncio.to_thread(api.wait)
        await asyncio.to_thread(fill, apis)
        clients = [await stack.enter_async_context(api.client()) for api in apis]
        visitors = Visitors(clients)

        async def gives_both() -> bool:
            """True if a newcomer gets both: Redis was found whole, and the pool of units is open."""
            newcomer = f"newcomer-{next(numbers)}"
            answer = await visitors.ask(0, newcomer, f"own-{newcomer}")
            return len(answer["offers"]) == 2

        await eventually(gives_both, "offers with limits and capacity to be given")
        for way in ways:
            way.delay(lambda: 0.12 if rng.random() < 0.15 else 0.004)
        for visit in range(VISITS):
            await asyncio.gather(*(visitors.visit(f"c{number}", visit) for number in range(CUSTOMERS)))
        for way in ways:
            way.delay(None)

        assert visitors.counts["retries"] > CUSTOMERS / 4
        statuses = await asyncio.gather(
            *(
                visitors.tell(number % 2, decision_id, offer["offer_id"])
                for number, (decision_id, answer) in enumerate(visitors.logged.items())
                for offer in answer["offers"]
            )
        )
        assert Counter(statuses) == {"recorded": len(statuses)}
        assert 0 < len(visitors.given["scarce"]) <= CAP
        assert len(visitors.given["once"]) == len({customer_id for customer_id, _ in visitors.given["once"]})
        assert len(visitors.given["once"]) > CUSTOMERS / 2
        await asyncio.to_thread(wait_caught_up, installation)


def fill(apis: list[Api]) -> None:
    """A placement with an offer that everybody gets once a day, and one of which there are few."""
    publish(apis[0], ["once"], limits=[ONCE_A_DAY])
    publish(apis[0], ["scarce"])
    apis[0].ok(
        "PUT", "/v1/capacities/units", {"name": "Units", "max": CAP, "per": "total", "offer": "scarce"}
    )
    place(apis[0], "far", slots=2, deadline_ms=DEADLINE_MS)
    everywhere(*apis)

"""Invariant 3: no contact limit is ever exceeded, however many processes decide for one customer at once."""

import asyncio
import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.support.installation import Api, Installation, everywhere, place, publish
from tests.support.truth import Stores, look, wait_caught_up

PROCESSES = 3
LIMITS = {"once": 1, "thrice": 3}
HOUR_S = 3600


@pytest.fixture(scope="module")
def apis(installation: Installation) -> list[Api]:
    apis = [installation.serve() for _ in range(PROCESSES)]
    installation.work()
    for api in apis:
        api.wait()
    for offer_id, most in LIMITS.items():
        loose = {"max": 1000, "window_s": HOUR_S}
        publish(apis[0], [offer_id], limits=[loose, {"max": most, "window_s": HOUR_S}])
    publish(apis[0], ["burst"], limits=[{"max": 2, "window_s": 1}, {"max": 6, "window_s": HOUR_S}])
    publish(apis[0], ["always"])
    place(apis[0], slots=2)
    everywhere(*apis)
    return apis


async def ask(apis: list[Api], bodies: list[dict[str, Any]]) -> list[Any]:
    """Send each body to one process after the other, all at once; gives the answers."""
    clients = [api.client() for api in apis]
    try:
        responses = await asyncio.gather(
            *(clients[n % len(clients)].post("/v1/decisions", json=body) for n, body in enumerate(bodies))
        )
    finally:
        for client in clients:
            await client.aclose()
    assert {response.status_code for response in responses} == {200}
    return [response.json() for response in responses]


def test_invariant_3_no_contact_limit_is_exceeded(apis: list[Api], installation: Installation) -> None:
    """Requests for the same customers hit all processes at once: with own ids, repeated ids and hopeless deadlines."""
    rng = random.Random(3)
    bodies: list[dict[str, Any]] = []
    for customer in range(4):
        for number in range(60):
            body: dict[str, Any] = {"customer_id": f"busy-{customer}", "placement": "web"}
            kind = rng.random()
            if kind < 0.4:
                body["decision_id"] = f"own-{customer}-{number % 12}"
            elif kind < 0.55:
                body["deadline_ms"] = rng.choice((1, 5, 20))
            bodies.append(body)
    rng.shuffle(bodies)
    answers = [answer for _ in range(2) for answer in asyncio.run(ask(apis, bodies))]

    given = defaultdict(set)
    for body, answer in zip(bodies * 2, answers, strict=True):
        for offer in answer["offers"]:
            given[body["customer_id"], offer["offer_id"]].add(answer["decision_id"])
    for customer in range(4):
        for offer_id, most in LIMITS.items():
            assert len(given[f"busy-{customer}", offer_id]) == most, offer_id
    wait_caught_up(installation)
    look(installation, check_log)


async def check_log(found: Stores) -> None:
    """No limit is exceeded in the log either, in no window; what was withdrawn was never a contact."""
    rows = await found.rows(
        "SELECT customer_id, header FROM decisions d WHERE NOT EXISTS"
        " (SELECT 1 FROM outcomes o WHERE o.decision_id = d.decision_id AND o.outcome = 'withdrawn')"
    )
    times = defaultdict(list)
    for row in rows:
        for offer in row.header["offers"]:
            times[row.customer_id, offer["offer_id"]].append(row.header["decided_at_ms"])
    for (_, offer_id), at_ms in times.items():
        if offer_id in LIMITS:
            assert len(at_ms) <= LIMITS[offer_id]
        if offer_id == "burst":
            at_ms.sort()
            assert len(at_ms) <= 6
            assert all(later - first >= 1000 for first, later in zip(at_ms, at_ms[2:], strict=False))


def test_invariant_3_limits_hold_in_every_window(apis: list[Api], installation: Installation) -> None:
    """A limit of a second is used up again and again, until the limit of an hour holds."""

    async def run() -> Counter[str]:
        given: Counter[str] = Counter()
        for _ in range(40):
            body = {"customer_id": "patient", "placement": "web"}
            for answer in await ask(apis, [body] * 6):
                given.update(offer["offer_id"] for offer in answer["offers"])
            if given["burst"] == 6:
                break
            await asyncio.sleep(0.1)
        return given

    given = asyncio.run(run())
    assert given["burst"] == 6
    assert given["once"] == 1
    wait_caught_up(installation)
    look(installation, check_log)

"""The world of the benchmarks: offers, placements, customers. Drawn from fixed seeds, so all runs measure the same."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import redis
from numpy.typing import NDArray
from pydantic_core import to_json

from app.embedded.server_urls import ServerUrls
from benchmarks.caller import Caller
from benchmarks.machine import BenchError
from benchmarks.plan import FRESH, OFFERS, ONE_SLOT, THREE_SLOTS, Plan
from benchmarks.processes import ApiProcess
from profiles.customer import Customer, Profile, decode_profile, encode_profile
from profiles.store import ProfileStore
from storage.keys import Keys

CROWD_SIZE = 2000
CACHED_FOR_S = 3600
ARCHIVED_WITHIN_S = 20.0
MARKETING = "marketing"
GROUPS = 8
POLICY = "calibrated"
DEADLINE_MS = 2000
REGIONS = ("north", "east", "south", "west", "centre")
BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
THINGS = ("current-account", "savings", "card", "mortgage", "loan", "insurance", "pension", "broker")
MESSAGE = "Because you know your way around: this one is yours if you want it, until the end of the month."


@dataclass(frozen=True, slots=True)
class Crowd:
    """Some customers, and their propensities in ten-thousandths: shape ``(len(customers), OFFERS)``."""

    customers: list[Customer]
    scores: NDArray[np.int64]


def draw_crowds(count: int) -> Iterator[Crowd]:
    """Draw ``count`` customers with 12 attributes and indicators each, in groups of ``CROWD_SIZE``."""
    popularity = np.random.default_rng(1).gamma(2.0, 0.02, OFFERS)
    for start in range(0, count, CROWD_SIZE):
        size = min(CROWD_SIZE, count - start)
        rng = np.random.default_rng((2, start))
        scores = np.rint(10_000 * popularity * rng.gamma(2.0, 0.5, (size, OFFERS))).astype(np.int64)
        drawn = rng.integers(0, 1000, (size, 12)).tolist()
        customers = [_customer(start + row, numbers) for row, numbers in enumerate(drawn)]
        yield Crowd(customers, scores.clip(1, 9999))


def _customer(number: int, drawn: list[int]) -> Customer:
    return Customer(
        customer_id=f"c{number:06d}",
        attributes={
            "age": BANDS[drawn[0] % len(BANDS)],
            "region": REGIONS[drawn[1] % len(REGIONS)],
            "language": "en",
            "household_size": 1 + drawn[2] % 6,
            "homeowner": drawn[3] % 2 == 0,
            "segment": f"segment-{drawn[4] % 12}",
        },
        indicators={
            "value_tier": float(drawn[5] % 5),
            "clv": drawn[6] * 7.25,
            "churn_risk": drawn[7] / 1000,
            "nps": float(drawn[8] % 11),
            "recency_days": float(drawn[9] % 90),
            "spend_30d": drawn[10] * 1.5,
        },
        holdings=tuple(THINGS[: 1 + drawn[11] % 4]),
        interests={"travel": drawn[0] / 1000, "home": drawn[1] / 1000},
        consents={MARKETING: ("*",)} if drawn[2] % 5 else {},
    )


def offer_id(number: int) -> str:
    """Make the id of an offer; all have the same length."""
    return f"offer-{number:03d}"


def publish_catalogue(api: ApiProcess, key: str) -> None:
    """Publish over HTTP 200 live offers (a fifth need consent, a tenth have a contact limit), and the placements.

    Everybody gets the same policy: there is no control group, whose decisions would be cheaper.
    """
    with Caller(api, key) as client:
        for path, body in catalogue_requests():
            client.send("PUT", path, body)


def catalogue_requests() -> Iterator[tuple[str, dict[str, Any]]]:
    """Make path and body of each PUT. The last offer is offered at a placement of its own alone."""
    for number in range(GROUPS):
        yield f"/groups/group-{number}", {"name": f"Group {number}", "goal": "grow"}
    for number in range(OFFERS + 1):
        yield (
            f"/offers/{offer_id(number)}",
            {
                "name": f"Offer {number}",
                "group": f"group-{number % GROUPS}",
                "value": 5.0 + number % 40,
                "requires_consent": MARKETING if number % 5 == 1 else None,
                "contact_limits": [{"max": 3, "window_s": 604_800}] if number % 10 == 2 else [],
            },
        )
        yield (
            f"/offers/{offer_id(number)}/treatments/banner",
            {
                "channel": "fresh" if number == OFFERS else "web",
                "title": f"An offer, number {number}",
                "message": MESSAGE,
            },
        )
    # Whatever the machine: an answer that came too late would be a cheaper one.
    patient = {"channel": "web", "policy": POLICY, "control_share": 0.0, "deadline_ms": DEADLINE_MS}
    for name, slots in ((ONE_SLOT, 1), (THREE_SLOTS, 3)):
        yield f"/placements/{name}", patient | {"slots": slots}
    # Its decisions must have their offer even while the API is as busy as it can be.
    yield (
        f"/placements/{FRESH}",
        patient | {"channel": "fresh", "slots": 1},
    )


async def fill_stores(urls: ServerUrls, keys: Keys, plan: Plan) -> None:
    """Copy customers and propensities into Postgres, and write their profiles to the cache."""
    connection = await asyncpg.connect(urls.postgres_url)
    try:
        for crowd in draw_crowds(plan.customers):
            await _copy(connection, crowd)
        await connection.execute("ANALYZE customers, propensities")
    finally:
        await connection.close()
    await fill_cache(urls, keys, plan)


async def fill_cache(urls: ServerUrls, keys: Keys, plan: Plan) -> None:
    """Write the profiles of all customers to the cache."""
    connection = await asyncpg.connect(urls.postgres_url)
    try:
        numbers = dict(await connection.fetch("SELECT offer_id, offer_no FROM offers"))
    finally:
        await connection.close()
    with redis.Redis.from_url(urls.redis_url) as cache:
        for crowd in draw_crowds(plan.customers):
            _warm(cache, keys, numbers, crowd)


async def _copy(connection: asyncpg.Connection, crowd: Crowd) -> None:
    await connection.copy_records_to_table(
        "customers",
        columns=["customer_id", "attributes", "indicators", "holdings", "interests", "consents"],
        records=[
            (
                c.customer_id,
                _json(c.attributes),
                _json(c.indicators),
                list(c.holdings),
                _json(c.interests),
                _json(c.consents),
            )
            for c in crowd.customers
        ],
    )
    form = "{" + ",".join(f'"{offer_id(number)}":0.%04d' for number in range(OFFERS)) + "}"
    rows = zip(crowd.customers, crowd.scores.tolist(), strict=True)
    await connection.copy_records_to_table(
        "propensities",
        columns=["customer_id", "scores"],
        records=[(customer.customer_id, form % tuple(scores)) for customer, scores in rows],
    )


def _json(value: object) -> str:
    return to_json(value).decode()


def _warm(cache: "redis.Redis", keys: Keys, numbers: dict[str, int], crowd: Crowd) -> None:
    offer_nos = np.array([numbers[offer_id(number)] for number in range(OFFERS)], np.uint32)
    propensities = (crowd.scores / 10_000).astype(np.float32)
    pipeline = cache.pipeline(transaction=False)
    for customer, scores in zip(crowd.customers, propensities, strict=True):
        blob = encode_profile(Profile(customer, offer_nos, scores))
        pipeline.set(keys.profile(customer.customer_id), blob, ex=CACHED_FOR_S)
    pipeline.execute()


async def check_cache(urls: ServerUrls, keys: Keys, store: ProfileStore, plan: Plan) -> None:
    """Compare some cached profiles with what the service itself would read from Postgres.

    Raises
    ------
    BenchError
        If they differ: then what is measured would not be what is served.
    """
    numbers = await store.offer_numbers()
    with redis.Redis.from_url(urls.redis_url) as cache:
        for number in range(0, plan.customers, plan.customers // 20):
            customer_id = f"c{number:06d}"
            stored = await store.load(customer_id, numbers)
            blob = cache.get(keys.profile(customer_id))
            assert stored is not None
            assert isinstance(blob, bytes)
            cached = decode_profile(blob)
            same = stored.customer == cached.customer and np.array_equal(stored.offer_nos, cached.offer_nos)
            if not same or not np.array_equal(stored.propensities, cached.propensities):
                raise BenchError(f"the cached profile of {customer_id} is not what Postgres holds")


def check_decisions(api: ApiProcess, key: str) -> None:
    """Make sure that decisions choose from all offers, with a propensity for each.

    Raises
    ------
    BenchError
        If they do not, or if the worker does not archive one within ``ARCHIVED_WITHIN_S``.
    """
    customer = next(c for c in next(draw_crowds(CROWD_SIZE)).customers if c.consents)
    with Caller(api, key) as client:
        for placement, slots in ((ONE_SLOT, 1), (THREE_SLOTS, 3)):
            body = {"customer_id": customer.customer_id, "placement": placement, "deadline_ms": 5000}
            answer = client.send("POST", "/decisions", body)
            if len(answer["offers"]) != slots or answer["degraded"]:
                raise BenchError(f"a decision that is not as it should be: {answer}")
            candidates = _candidates(client, answer["decision_id"])
            if len([c for c in candidates if c["prior"] is not None]) != OFFERS:
                raise BenchError(f"a decision among {len(candidates)} offers, or without their propensities")


def _candidates(client: Caller, decision_id: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + ARCHIVED_WITHIN_S
    while time.monotonic() < deadline:
        record = client.send("GET", f"/decisions/{decision_id}")
        if record["archived"]:
            return list(record["candidates"])
        time.sleep(0.1)
    raise BenchError(f"a decision was not archived within {ARCHIVED_WITHIN_S:.0f} s")

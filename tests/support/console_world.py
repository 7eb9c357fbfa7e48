"""A small telephone company for the console: offers with scripts, customers, two weeks of history, and keys."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from app.config import Settings
from app.keys import Role
from app.publishable.settings import PublishableSettings
from app.publishable.store import PublishableStore
from storage.postgres import make_engine
from tests.support.api import make_keys
from tests.support.served import Served
from tests.support.waiting import wait_until

CUSTOMERS = 400
WEEKS = 2
OFFERS: dict[str, tuple[str, str, float, float]] = {
    # Id: name, group, value, share of customers who accept it.
    "fibre-600": ("Fibre 600", "upgrade", 60.0, 0.22),
    "mobile-plus": ("Mobile Plus", "upgrade", 35.0, 0.3),
    "tv-pack": ("TV pack", "extras", 20.0, 0.16),
    "insurance": ("Screen insurance", "extras", 12.0, 0.1),
    "stay-discount": ("Loyalty discount", "stay", 25.0, 0.4),
}
OBJECTIONS = {
    "fibre-600": ("It is too expensive", "The first three months cost half."),
    "mobile-plus": ("I do not need more data", "Unused data roll over to the next month."),
}
ATTRIBUTES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("customer.age", {"type": "int", "unit": "years"}),
    ("customer.region", {"type": "string", "values": ["north", "south"]}),
    ("customer.first_name", {"type": "string"}),
    ("context.reason", {"type": "string", "values": ["question", "complaint", "cancel"]}),
)


@dataclass(frozen=True, slots=True)
class World:
    """The company's service: its address, a key of each role, and a client that may do everything."""

    url: str
    keys: Mapping[Role, str]
    http: httpx.Client

    def visit(self, visitors: int) -> None:
        """Let visitors come to the home page, see `visit`."""
        visit(self.http, visitors)


async def publish_shop(settings: Settings) -> None:
    """Make a publishable key of a shop, which takes customers' tokens."""
    engine = make_engine(str(settings.postgres_url), pool_size=1)
    tokens = {"algorithm": "HS256", "key": "a secret that only the back end of the shop knows"}
    opened = {"placements": ["web-home"], "origins": ["https://shop.example"], "tokens": tokens}
    try:
        await PublishableStore(engine).create("shop", PublishableSettings.model_validate(opened))
    finally:
        await engine.dispose()


@contextmanager
def open_world(url: str, settings: Settings, visitors: int = 40) -> Iterator[World]:
    """Fill a running service, and let some visitors come."""
    keys = asyncio.run(make_keys(settings))
    asyncio.run(publish_shop(settings))
    # A connection for each request, so that all processes get some.
    headers = {"X-API-Key": keys["admin"], "Connection": "close"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
        wait_until(lambda: all(http.get("/v1/offers").is_success for _ in range(8)), "the keys to be known")
        fill(http)
        visit(http, visitors)
        yield World(url, keys, http)


@contextmanager
def serve_world(postgres_url: str, redis_url: str, folder: Path, visitors: int = 0) -> Iterator[World]:
    """Serve the company with one API process; nothing may have raised in it."""
    served = Served(postgres_url, redis_url, folder, workers=1)
    settings = Settings(postgres_url=postgres_url, redis_url=redis_url)
    with served.running(), open_world(served.url, settings, visitors) as found:
        yield found
    assert "Traceback" not in served.printed()


def fill(http: httpx.Client, seed: int = 7) -> None:
    """Store the catalogue, the customers and their history. ``http`` has the key of an admin."""
    for path, body in catalogue():
        _ok(http.put(f"/v1/{path}", json=body))
    draw = random.Random(seed)
    ages = [draw.randint(18, 80) for _ in range(CUSTOMERS)]
    rows = [f"c{i},{age},{'north' if i % 2 else 'south'},Kim" for i, age in enumerate(ages)]
    people = "customer_id,age,region,first_name\n" + "\n".join(rows)
    _ok(http.post("/v1/imports/customers", content=people, headers={"Content-Type": "text/csv"}))
    _ok(http.post("/v1/imports/history", content=history(draw), headers={"Content-Type": "text/csv"}))


def catalogue() -> list[tuple[str, dict[str, Any]]]:
    """Paths and bodies, in an order in which they can be put."""
    found: list[tuple[str, dict[str, Any]]] = [(f"attributes/{path}", body) for path, body in ATTRIBUTES]
    found += [
        ("segments/grown_up", {"when": "customer.age >= 30", "description": "thirty or older"}),
        ("groups/upgrade", {"name": "Upgrades", "goal": "grow"}),
        ("groups/extras", {"name": "Extras", "goal": "grow"}),
        ("groups/stay", {"name": "Retention", "goal": "retain"}),
    ]
    for offer_id, (name, group, value, _) in OFFERS.items():
        rejected = [{"for_s": 86_400, "scope": "offer"}]
        found.append(
            (
                f"offers/{offer_id}",
                {"name": name, "group": group, "value": value, "after_rejection": rejected},
            )
        )
        script = {"steps": [{"step_id": "open", "text": f"Tell about {name}."}], "objections": []}
        if offer_id in OBJECTIONS:
            objection, answer = OBJECTIONS[offer_id]
            script["objections"] = [{"objection": objection, "answer": answer}]
        title, said = f"{name} for {{{{ customer.first_name }}}}", {"customer.first_name": "you"}
        texts = {"language": "en", "title": title, "message": f"Good news about {name}.", "fallbacks": said}
        found.append((f"offers/{offer_id}/treatments/call", {"channel": "agent", "script": script} | texts))
        found.append((f"offers/{offer_id}/treatments/page", {"channel": "web"} | texts))
    asked, decided = {"presentation": "explicit"}, {"counts": "decided"}
    on_the_web = {"scope": "all", "channels": ["web"]}
    shared = {"deadline_ms": 5000, "reward_window_s": 604_800}
    found += [
        ("placements/web-home", {"channel": "web", "slots": 1, "control_share": 0.1} | shared),
        ("placements/call-centre", {"channel": "agent", "slots": 3, "control_share": 0} | asked | shared),
        ("capacities/callbacks", {"name": "Call-backs", "max": 40, "per": "day", "group": "stay"} | decided),
        ("contact-policies/weekly", {"name": "Three a week", "max": 3, "window_s": 604_800} | on_the_web),
    ]
    return found


def history(draw: random.Random) -> str:
    """Decisions of the weeks before today with what came of them, as a file to be imported."""
    lines = ["customer_id,offer_id,decided_at,outcome,occurred_at,value,placement"]
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(1, 7 * WEEKS + 1):
        # The newer week goes better, so that there is something to see.
        lift = 1.15 if day <= today.weekday() + 1 else 1.0
        for _ in range(60):
            offer_id, (_, _, value, rate) = draw.choice(list(OFFERS.items()))
            at = today - timedelta(days=day) + timedelta(seconds=draw.randint(25_000, 75_000))
            chance = draw.random()
            outcome = "accepted" if chance < rate * lift else "rejected" if chance < 0.7 else "expired"
            told = (at + timedelta(minutes=3)).isoformat() if outcome != "expired" else ""
            worth = value if outcome == "accepted" else ""
            customer = f"c{draw.randrange(CUSTOMERS)}"
            lines.append(f"{customer},{offer_id},{at.isoformat()},{outcome},{told},{worth},web-home")
    return "\n".join(lines)


def visit(http: httpx.Client, visitors: int) -> None:
    """Let visitors come to the home page now; each third one accepts, and each third one says no."""
    for i in range(visitors):
        answer = _ok(http.post("/v1/decisions", json={"customer_id": f"c{i}", "placement": "web-home"}))
        if answer["offers"] and i % 3 < 2:
            told = {"decision_id": answer["decision_id"], "offer_id": answer["offers"][0]["offer_id"]}
            outcome = ("accepted", "rejected")[i % 3]
            _ok(http.post("/v1/feedback", json=told | {"outcome": outcome}))


def _ok(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.request.url}: {response.status_code} {response.text}"
    return response.json()

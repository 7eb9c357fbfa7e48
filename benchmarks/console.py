"""``python -m benchmarks.console``: how long the service works for each request of the console's pages.

On servers of its own, in this process, with a catalogue of 2,500 offers (two treatments and a rule each), four weeks in
the roll-up of reports, and outcomes in the log. Each request is sent a few times, as its page sends it. Columns:
milliseconds, those of this process's own processor time, and bytes of the answer.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import httpx
from rich.console import Console
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from app.config import Settings
from app.embedded.server_urls import ServerUrls
from app.keys import KeyStore
from app.main import create_app
from benchmarks.machine import BenchError, describe
from benchmarks.plan import RESULTS
from benchmarks.processes import fresh_servers
from storage.postgres import make_engine, transaction

GROUPS, DAYS, OUTCOMES = 40, 28, 100_000
TIMES = 7
SINCE = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
WRITTEN = RESULTS.parent / "console.json"
PAGES: Mapping[str, tuple[str, ...]] = {
    "Home": (
        f"/v1/reports/offers?by=day&since={SINCE}",
        f"/v1/reports/offers?by=control_group&since={SINCE}",
        "/v1/reports/acceptance?by=day",
        "/v1/alerts?state=firing",
        "/v1/reports/capacity",
        "/v1/reports/drift?limit=6",
        "/v1/catalog?limit=6&whole=false",
        "/v1/live",
    ),
    "Reports": (f"/v1/reports/offers?by=month,offer&since={SINCE}",),
    "Offers": ("/v1/offers?brief=true", "/v1/reports/offers?by=offer"),
    "Offer": ("/v1/offers/offer-7", "/v1/groups", "/v1/reports/offers?by=offer&offer=offer-7"),
    "Groups and goals": ("/v1/groups", "/v1/goals", "/v1/offers?brief=true"),
    "Audit": ("/v1/catalog?limit=50&whole=false",),
    "Customer": ("/v1/contact-policies", "/v1/placements", "/v1/customers/c1/suppressions?limit=1"),
    "Placement": ("/v1/placements/home/policies", "/v1/policies"),
    "Policy": ("/v1/policies/calibrated",),
    "Calibration": (f"/v1/reports/calibration?since={SINCE}", f"/v1/reports/calibration?by=week&bins=1&since={SINCE}"),
    "Desk": ("/v1/desk", "/v1/scripts/search?q=price&placement=home"),
}  # fmt: skip
DRY_RUN = {"customer_id": "c1", "placement": "home", "dry_run": True, "explain": True}
ROLL_UP = """
INSERT INTO acceptance (hour, placement, policy, offer_id, grp, decided, accepted_closed, rejected_closed, ignored)
SELECT date_trunc('day', now()) - d * interval '1 day', 'home', 'calibrated@1', 'offer-' || o, g, 50, 4, 6, 40
FROM generate_series(1, :days) AS d, generate_series(0, :offers - 1) AS o, unnest(array['champion', 'control']) AS g
"""
LOG = """
INSERT INTO outcomes (decision_id, offer_id, outcome, decided_at, offer_no, value, at_ms, recorded_ms, late, reward,
    prior, policy, placement, bucket, position, estimate)
SELECT 'd' || n, 'offer-' || n % :offers, 'expired', now() - (n % 27) * interval '1 day', 1 + n % :offers, NULL, 1, 1,
    false, 0, 0.05, 'calibrated@1', 'home', 0, n || '-0', 0.01 + n % 97 / 1000.0
FROM generate_series(1, :outcomes) AS n
"""


def main() -> int:
    """Measure, show, save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__)
    parser.add_argument("--offers", type=int, default=2500)
    options = parser.parse_args()
    with fresh_servers() as (_, urls):
        found = asyncio.run(measure(urls, options.offers))
    console = Console(width=130)
    for one in found:
        numbers = f"{one['median_ms']:>9.1f}{one['cpu_ms']:>9.1f}{one['bytes']:>12,}{one['status']:>5}"
        console.print(f"{one['page']:<18}{one['request']:<66}{numbers}", highlight=False)
    WRITTEN.write_text(json.dumps({"requests": found, "machine": describe()}, indent=1) + "\n")
    return 0


async def measure(urls: ServerUrls, offers: int) -> list[dict[str, Any]]:
    """Fill an installation, and send the requests of all pages. Milliseconds and bytes."""
    found = []
    async with opened(urls) as (http, engine):
        answer = await http.post("/v1/catalog/apply", content=json.dumps(catalogue(offers)))
        if not answer.is_success:
            raise BenchError(f"the catalogue was refused: {answer.text[:500]}")
        await fill(engine, offers)
        for page, paths in PAGES.items():
            found += [await timed(http, page, "GET", path) for path in paths]
        found.append(await timed(http, "Customer", "POST", "/v1/decisions", DRY_RUN))
    return found


@asynccontextmanager
async def opened(urls: ServerUrls) -> AsyncIterator[tuple[httpx.AsyncClient, AsyncEngine]]:
    """Run the application in this process; yields a client that may do everything, and an engine."""
    engine = make_engine(urls.postgres_url, statement_s=600)
    key = await KeyStore(engine).create("admin", "benchmark")
    app = create_app(Settings(postgres_url=urls.postgres_url, redis_url=urls.redis_url, log_level="error"))
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state)
        headers = {"X-API-Key": key}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://nextbest", headers=headers, timeout=600
        ) as http:
            yield http, engine
    await engine.dispose()


async def fill(engine: AsyncEngine, offers: int) -> None:
    """Write the roll-up and the log of some weeks."""
    async with transaction(engine) as connection:
        await connection.execute(text(ROLL_UP), {"days": DAYS, "offers": offers})
        await connection.execute(text(LOG), {"outcomes": OUTCOMES, "offers": offers})
    async with engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(text("ANALYZE"))


def catalogue(offers: int) -> dict[str, Any]:
    """Make the document of the catalogue."""
    script = {"steps": [{"step_id": "open", "text": "Ask what they use today."}], "objections": []}
    return {
        "nextbest": 1,
        "attributes": {"customer.age": {"type": "int"}},
        "groups": {f"group-{n}": {"name": f"Group {n}", "goal": "grow"} for n in range(GROUPS)},
        "offers": {f"offer-{n}": offer(n, script) for n in range(offers)},
        "placements": {"home": {"channel": "web", "slots": 3, "deadline_ms": 5000}},
    }


def offer(number: int, script: Mapping[str, Any]) -> dict[str, Any]:
    """Make an offer with a rule, limits and two treatments."""
    texts = {
        "language": "en",
        "title": f"Offer {number}",
        "message": "It pays you back, at a good price. " * 3,
    }
    return {
        "name": f"Offer {number}",
        "group": f"group-{number % GROUPS}",
        "value": 5 + number % 40,
        "rules": [{"name": "grown up", "tier": "eligibility", "when": f"customer.age >= {18 + number % 10}"}],
        "contact_limits": [{"max": 3, "window_s": 604_800}],
        "treatments": {
            "page": {"channel": "web"} | texts,
            "call": {"channel": "agent", "script": script} | texts,
        },
    }


async def timed(
    http: httpx.AsyncClient, page: str, method: str, path: str, body: object = None
) -> dict[str, Any]:
    """Send a request a few times, after once for what is prepared then.

    Not by the Python client, which gives back what an answer says: its bytes are counted, and answers of any status.

    ``median_ms`` has all that it waits for, Postgres among it, and suffers where the machine is busy; ``cpu_ms`` is
    what this process computed.
    """
    times, cpu = [], []
    for _ in range(TIMES + 1):
        began, began_cpu = time.perf_counter(), time.process_time()
        answer = await http.request(method, path, json=body)
        times.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - began_cpu) * 1000)
    return {
        "page": page,
        "request": path,
        "median_ms": median(times[1:]),
        "cpu_ms": median(cpu[1:]),
        "bytes": len(answer.content),
        "status": answer.status_code,
    }


if __name__ == "__main__":
    sys.exit(main())

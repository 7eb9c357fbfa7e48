"""``python -m benchmarks.console``: how long the service works for each request of the console's pages.

On servers of its own, in this process, with a catalogue of 2,500 offers (two treatments and a rule each), four weeks of
eight hours in the roll-up of reports, rolled up by day as well, and outcomes in the log. With ``--customers`` there are
so many of them, each with a decision, an event and a firing. Each request is sent a few times, as its page sends it.
Columns: milliseconds, those of this process's own processor time, and bytes of the answer.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from app.state import ApiState
from benchmarks.crowd import cache_profiles, fill_crowd
from benchmarks.machine import BenchError, describe
from benchmarks.plan import RESULTS
from benchmarks.processes import fresh_servers
from decisioning.reporting.days.store_roll_up import DaysOfReports
from storage.postgres import make_engine, transaction

GROUPS, DAYS, HOURS, OUTCOMES = 40, 28, 8, 100_000
IN_BRANCH = 5
TIMES = 7
SINCE = (datetime.now(UTC) - timedelta(days=DAYS)).date().isoformat()
WRITTEN = RESULTS.parent / "console.json"
WRITTEN_WITH_CUSTOMERS = RESULTS.parent / "console-customers.json"
PAGES: Mapping[str, tuple[str, ...]] = {
    "Home": (
        f"/v1/reports/offers?by=day&since={SINCE}",
        f"/v1/reports/offers?by=control_group&since={SINCE}",
        f"/v1/reports/acceptance?by=day&from={datetime.now(UTC).date().isoformat()}T00:00:00Z",
        "/v1/holdouts",
        "/v1/alerts?state=firing",
        "/v1/reports/capacity",
        "/v1/reports/drift?limit=6",
        "/v1/catalog?limit=6&whole=false",
        "/v1/live",
    ),
    "Reports": (f"/v1/reports/offers?by=day&since={SINCE}", f"/v1/reports/offers?by=month,offer&since={SINCE}"),
    "Triggers": (
        "/v1/event-types",
        "/v1/triggers",
        "/v1/firings/counts?days=7",
        f"/v1/reports/events?since={SINCE}",
        "/v1/firings?status=failed&limit=50",
    ),
    "Dead letters": ("/v1/dead-letters?limit=50",),
    "Audit": ("/v1/catalog?limit=50&whole=false",),
    "Offers": ("/v1/offers?brief=true", "/v1/reports/offers?by=offer"),
    "Offer": (
        "/v1/offers/offer-7",
        "/v1/groups",
        "/v1/reports/offers?by=offer&offer=offer-7",
        "/v1/reports/offers/offer-7/funnel",
    ),
    "Groups and goals": ("/v1/groups", "/v1/goals", "/v1/offers?brief=true"),
    "Capacity": (
        "/v1/contact-policies",
        "/v1/quiet-hours",
        "/v1/reports/capacity",
        "/v1/capacities",
        "/v1/reports/contact-limits",
    ),
    "Changes": ("/v1/changesets?state=draft&limit=50",),
    "Keys": ("/v1/publishable-keys",),
    "Customer": (
        "/v1/customers/c1",
        "/v1/contact-policies",
        "/v1/placements",
        "/v1/customers/c1/suppressions?limit=1",
        "/v1/customers/c1/decisions?limit=30",
        "/v1/aggregates",
    ),
    "Placement": (
        "/v1/placements/home/policies",
        "/v1/policies",
        "/v1/placements/branch/policies/comparison?slots=first",
        "/v1/reports/canaries?placement=home&limit=5",
    ),
    "Policy": ("/v1/policies/calibrated",),
    "Calibration": (
        f"/v1/reports/calibration?by=offer&since={SINCE}",
        f"/v1/reports/calibration?by=week&bins=1&since={SINCE}",
        "/v1/reports/drift?limit=20",
    ),
    "Evaluation": ("/v1/policies", "/v1/placements", "/v1/evaluations?limit=10"),
    "Desk": ("/v1/desk", "/v1/scripts/search?q=price&placement=home"),
}  # fmt: skip
ANY_CONDITION = {"expression": "customer.age >= 40", "sample": 2000}
DRY_RUN = {"customer_id": "c1", "placement": "home", "dry_run": True, "explain": True}
ROLL_UP = """
INSERT INTO acceptance (hour, placement, policy, offer_id, grp, decided, accepted_closed, rejected_closed, ignored)
SELECT date_trunc('day', now()) - d * interval '1 day' + (9 + h) * interval '1 hour', 'home', 'calibrated@1',
    'offer-' || o, g, 50, 4, 6, 40
FROM generate_series(1, :days) AS d, generate_series(1, :hours) AS h, generate_series(0, :offers - 1) AS o,
    unnest(array['champion', 'control']) AS g
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
    parser.add_argument("--customers", type=int, default=0, help="so many, as 1000000")
    parser.add_argument(
        "--to", type=Path, default=None, help="where results are written, if not in the folder of results"
    )
    options = parser.parse_args()
    console = Console(width=130)
    with fresh_servers() as (_, urls):
        found = asyncio.run(
            measure(urls, options.offers, options.customers, lambda what: console.print(what, style="dim"))
        )
    for one in found:
        numbers = f"{one['median_ms']:>9.1f}{one['cpu_ms']:>9.1f}{one['bytes']:>12,}{one['status']:>5}"
        console.print(f"{one['page']:<18}{one['request']:<66}{numbers}", highlight=False)
    written = options.to or (WRITTEN_WITH_CUSTOMERS if options.customers else WRITTEN)
    result = {
        "offers": options.offers,
        "customers": options.customers,
        "requests": found,
        "machine": describe(),
    }
    written.write_text(json.dumps(result, indent=1) + "\n")
    return 0


async def measure(
    urls: ServerUrls, offers: int, customers: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Fill an installation, and send the requests of all pages. Milliseconds and bytes."""
    found = []
    async with opened(urls) as (http, state, engine):
        answer = await http.post("/v1/catalog/apply", content=json.dumps(catalogue(offers)))
        if not answer.is_success:
            raise BenchError(f"the catalogue was refused: {answer.text[:500]}")
        await fill(engine, offers)
        decision = await http.post("/v1/decisions", json={"customer_id": "c1", "placement": "branch"})
        if customers:
            await fill_crowd(state, urls.postgres_url, customers, say)
        rolled_up = await DaysOfReports(engine).roll_up(datetime.now(UTC))
        say(f"{rolled_up} days are rolled up for reports")
        async with engine.connect() as connection:
            await (await connection.execution_options(isolation_level="AUTOCOMMIT")).execute(
                text("VACUUM ANALYZE")
            )
        if customers:
            await cache_profiles(state, customers, say)
        for page, paths in PAGES.items():
            found += [await timed(http, page, "GET", path) for path in paths]
        of_one = f"/v1/decisions/{decision.json()['decision_id']}"
        found += [await timed(http, "Decision", "GET", path) for path in (of_one, f"{of_one}/explanation")]
        found.append(await timed(http, "Customer", "POST", "/v1/decisions", DRY_RUN))
        found.append(await timed(http, "New offer", "POST", "/v1/rules/preview", ANY_CONDITION))
    return found


@asynccontextmanager
async def opened(urls: ServerUrls) -> AsyncIterator[tuple[httpx.AsyncClient, ApiState, AsyncEngine]]:
    """Run the application in this process; yields a client that may do everything, its state, and an engine."""
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
            yield http, app.state.nextbest, engine
    await engine.dispose()


async def fill(engine: AsyncEngine, offers: int) -> None:
    """Write the roll-up and the log of some weeks."""
    async with transaction(engine) as connection:
        await connection.execute(text(ROLL_UP), {"days": DAYS, "hours": HOURS, "offers": offers})
        await connection.execute(text(LOG), {"outcomes": OUTCOMES, "offers": offers})


def catalogue(offers: int) -> dict[str, Any]:
    """Make the document of the catalogue."""
    script = {"steps": [{"step_id": "open", "text": "Ask what they use today."}], "objections": []}
    return {
        "nextbest": 1,
        "attributes": {"customer.age": {"type": "int"}},
        "groups": {f"group-{n}": {"name": f"Group {n}", "goal": "grow"} for n in range(GROUPS)},
        "offers": {f"offer-{n}": offer(n, script) for n in range(offers)},
        "placements": {
            "home": {"channel": "web", "slots": 3, "deadline_ms": 5000},
            "branch": {"channel": "branch", "slots": 1, "deadline_ms": 5000},
        },
    }


def offer(number: int, script: Mapping[str, Any]) -> dict[str, Any]:
    """Make an offer with a rule, limits and two treatments; a few have one for the branch, where records are small."""
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
            **({"talk": {"channel": "branch"} | texts} if number < IN_BRANCH else {}),
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

"""One customer has one id, at every door: decisions, customers, suppression lists, and files of each kind."""

import asyncio
import io
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from tests.support.api import CSV, Instance, Nextbest, decide, problem_of
from tests.support.commands import run_command

pytestmark = pytest.mark.asyncio(loop_scope="module")

PARQUET = {"Content-Type": "application/vnd.apache.parquet"}
NORMAL = "José"
WRITTEN = ["José", "Jose\u0301", " José ", "José\u00a0", "\u202fJose\u0301", "\ufeffJosé\u3000"]
REFUSED = ["c\n1", "c1\n", "\tc1", "c\x7f1", "c\u20281", "c\x851"]


def table(**columns: Any) -> bytes:
    """A Parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


async def load(api: Instance, kind: str, content: str | bytes) -> Any:
    """Import a file."""
    headers = CSV if isinstance(content, str) else PARQUET
    return await api.ok("POST", f"/v1/imports/{kind}", content=content, headers=headers)


@pytest.mark.parametrize("listed", WRITTEN)
async def test_whoever_is_on_a_list_gets_no_offers_however_the_id_is_written(
    shop: Nextbest, listed: str
) -> None:
    api = shop.api
    assert (await decide(api, NORMAL, dry_run=True))["offers"]
    answer = await api.ok("PUT", f"/v1/suppressions/register/{quote(listed)}", json={"reason": "asked"})
    assert answer["customer_id"] == NORMAL
    for written in WRITTEN:
        assert not (await decide(api, written, dry_run=True))["offers"]
    await api.call("DELETE", f"/v1/suppressions/register/{quote(WRITTEN[1])}")
    assert (await decide(api, listed, dry_run=True))["offers"]


async def test_all_doors_lead_to_the_same_customer(shop: Nextbest) -> None:
    api = shop.api
    for number, written in enumerate(WRITTEN):
        stored = await api.ok("PUT", f"/v1/customers/{quote(written)}", json={"attributes": {"n": number}})
        assert stored == {"customer_id": NORMAL}
        assert (await api.ok("GET", f"/v1/customers/{quote(NORMAL)}"))["attributes"] == {"n": number}
    rows = "".join(f'"{written}",{number}\n' for number, written in enumerate(WRITTEN, start=10))
    await load(api, "customers", "customer_id,n\n" + rows)
    assert (await api.ok("GET", f"/v1/customers/{quote(NORMAL)}"))["attributes"] == {"n": 15}
    await load(api, "customers", table(customer_id=WRITTEN[1:], n=[20, 21, 22, 23, 24]))
    for offer_id, written in zip(("gold", "silver"), WRITTEN[1:3], strict=True):
        await load(api, "propensities", f"customer_id,offer_id,propensity\n{written},{offer_id},0.5\n")
    found = await api.ok("GET", f"/v1/customers/{quote(WRITTEN[3])}")
    assert (found["customer_id"], found["attributes"]) == (NORMAL, {"n": 24})
    assert found["propensities"] == {"gold": 0.5, "silver": 0.5}
    history = "customer_id,offer_id,decided_at,outcome\n{},gold,2026-03-01,accepted\n"
    news = [(await load(api, "history", history.format(written)))["new"] for written in WRITTEN]
    assert news == [1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("bad", REFUSED)
async def test_control_characters_are_refused_at_every_door(shop: Nextbest, bad: str) -> None:
    api = shop.api
    body = {"customer_id": bad, "placement": "home", "dry_run": True}
    problem_of(await api.call("POST", "/v1/decisions", json=body), 422)
    problem_of(await api.call("PUT", f"/v1/customers/{quote(bad)}", json={}), 422)
    problem_of(await api.call("GET", f"/v1/customers/{quote(bad)}"), 422)
    path = f"/v1/suppressions/register/{quote(bad)}"
    problem_of(await api.call("PUT", path, json={"reason": "asked"}), 422)
    for kind, columns in (
        ("customers", {}),
        ("propensities", {"offer_id": "gold", "propensity": "0.5"}),
        ("history", {"offer_id": "gold", "decided_at": "2026-03-01", "outcome": "accepted"}),
    ):
        given = {"customer_id": bad, **columns}
        csv = ",".join(given) + "\n" + ",".join(f'"{value}"' for value in given.values()) + "\n"
        for content in (csv, table(**{name: [value] for name, value in given.items()})):
            report = await load(api, kind, content)
            assert (report["loaded"], report["refused"]) == (0, 1)
            assert report["refusals"][0]["field"] == "customer_id"


async def test_ids_of_earlier_versions_are_listed_and_mended(shop: Nextbest) -> None:
    state, settings = shop.api.state, shop.settings
    own = {name: getattr(settings, name) for name in ("postgres_url", "redis_url", "buckets")}
    async with state.engine.begin() as connection:
        await connection.execute(
            text("INSERT INTO suppressions (list_id, customer_id, reason) VALUES ('l', :id, '')"),
            {"id": "line\n"},
        )
    assert (await decide(shop.api, "line", dry_run=True))["offers"]

    async def run(*arguments: str) -> str:
        done = await asyncio.to_thread(run_command, "ids", *arguments, **own)
        assert done.returncode == 0
        return done.stdout

    assert "'line\\n' -> 'line'\n1 ids to mend" in await run()
    assert "1 ids mended" in await run("--mend")
    assert "0 ids" in await run()
    assert not (await decide(shop.api, "line", dry_run=True))["offers"]

"""Exports of a real log: files, jobs over HTTP, views, and evaluations of what was exported."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from sqlalchemy import text as sql
from typer.testing import CliRunner, Result

from app.cli import app
from app.config import Settings
from app.worker.export_runs import run_export, run_in_process
from decisioning.exporting.day_files import only_one
from decisioning.exporting.schema import COLUMNS, KINDS
from decisioning.exporting.store_jobs import ExportStore, folder_name
from tests.support.api import Nextbest, decide, problem_of, put_offer, tell
from tests.support.canaries import place

pytestmark = pytest.mark.asyncio(loop_scope="module")

RATES = {"gold": 0.1, "silver": 0.7, "tablet": 0.4}
VISITS = 120


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def log(shop: Nextbest) -> Nextbest:
    """Random decisions in two slots whose windows are closed, and one whose window is open."""
    await put_offer(shop.api, "tablet", value=5)
    await place(shop.api, "drawn", policy="random", slots=2)
    rng = Random(1)
    await shop.api.ok("PUT", "/v1/customers/v1", json={"attributes": {}, "consents": {}})
    for start in range(0, VISITS, 20):
        names = [f"v{n}" for n in range(start, start + 20)]
        answers = await asyncio.gather(*(decide(shop.api, name, "drawn", decision_id=name) for name in names))
        for answer in answers:
            for offer in answer["offers"]:
                if rng.random() < RATES[offer["offer_id"]]:
                    await tell(shop.api, answer["decision_id"], offer["offer_id"], "accepted")
    await shop.worker.learn()
    await shop.worker.expire(ahead_s=8 * 86_400)
    await decide(shop.api, "late", "drawn", decision_id="still-open")
    await shop.worker.learn()
    await shop.worker.archive()
    return shop


@pytest.fixture
def in_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's servers, as processes find them."""
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", str(settings.postgres_url))
    monkeypatch.setenv("NEXTBEST_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("NEXTBEST_BUCKETS", str(settings.buckets))


async def command(*words: object, status: int = 0) -> Result:
    """A command, in a thread of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    assert result.exit_code == status, result.output
    return result


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """All rows of a kind."""
    found: list[dict[str, Any]] = pq.read_table(folder).to_pylist()
    return found


def lines_in(folder: Path) -> list[str]:
    """The lines of all dsjson files."""
    return [
        line for file in folder.rglob("*.dsjson") for line in file.read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.usefixtures("in_environment")
async def test_every_kind_is_exported_with_the_columns_that_are_documented(
    log: Nextbest, tmp_path: Path
) -> None:
    for kind in KINDS:
        await command("export", kind, "--out", tmp_path)
        names = pq.read_table(tmp_path / kind).column_names
        assert names == [name for name, *_ in COLUMNS[kind]] + ["day"]
    decisions = rows_in(tmp_path / "decisions")
    assert len(decisions) == 2 * (VISITS + 1)
    for row in decisions:
        assert row["offer_id"] in row["candidates"]
        assert row["probability"] == pytest.approx(1 / len(row["candidates"]))
        assert row["closed"] == (row["decision_id"] != "still-open")
        assert len(row["candidate_weights"]) == len(row["candidates"])
    accepted = sum(row["outcome"] == "accepted" for row in decisions)
    assert accepted == sum(row["outcome"] == "accepted" for row in rows_in(tmp_path / "outcomes"))
    assert {row["reward"] for row in decisions if row["closed"]} == {0.0, 1.0}
    assert "v1" in {row["customer_id"] for row in rows_in(tmp_path / "customers")}
    arms = rows_in(tmp_path / "arms")
    assert {"gold", "silver"} <= {row["offer_id"] for row in arms if row["policy"] == "thompson@1"}


@pytest.mark.usefixtures("in_environment")
async def test_the_dsjson_of_decisions(log: Nextbest, tmp_path: Path) -> None:
    await command("export", "decisions", "--out", tmp_path, "--format", "dsjson")
    lines = [json.loads(line) for line in lines_in(tmp_path)]
    assert len(lines) == 2 * VISITS
    assert all(len(line["a"]) == len(line["p"]) == len(line["c"]["_multi"]) for line in lines)


@pytest.mark.usefixtures("in_environment", "log")
async def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    for wrong in (("nonsense",), ("decisions", "--since", "yesterday"), ("decisions", "--format", "xml")):
        await command("export", *wrong, "--out", tmp_path, status=2)
    file = tmp_path / "file"
    file.write_text("", encoding="utf-8")
    assert "file" in (await command("export", "decisions", "--out", file, status=1)).stderr


async def test_views_show_the_log_without_bytes(log: Nextbest) -> None:
    async with log.api.state.engine.begin() as connection:
        kinds = await connection.execute(
            sql("SELECT table_name, data_type FROM information_schema.columns WHERE table_name LIKE 'nb\\_%'")
        )
        views = list(kinds)
        assert {name for name, _ in views} == {
            "nb_decisions",
            "nb_decided_offers",
            "nb_outcomes",
            "nb_customers",
        }
        assert "bytea" not in {kind for _, kind in views}
        row = (await connection.execute(sql("SELECT * FROM nb_decisions WHERE decision_id = 'v1'"))).one()
        assert (row.placement, row.offers, row.closed, row.group) == ("drawn", 2, True, "champion")
        assert {"gold", "silver", "tablet"} <= set(row.candidates)
        first = (
            await connection.execute(
                sql("SELECT * FROM nb_decided_offers WHERE decision_id = 'v1' AND rank = 1")
            )
        ).one()
        assert first.probability == pytest.approx(1 / len(row.candidates))
        accepted = await connection.scalar(sql("SELECT count(*) FROM nb_outcomes WHERE outcome = 'accepted'"))
        assert (accepted or 0) > 10
        assert await connection.scalar(sql("SELECT count(*) FROM nb_customers WHERE customer_id = 'v1'")) == 1


@pytest.mark.usefixtures("in_environment", "log")
@pytest.mark.parametrize("slots", ["first", "all"])
async def test_an_export_is_evaluated_as_the_archive_is(tmp_path: Path, slots: str) -> None:
    await command("export", "decisions", "--out", tmp_path)
    asked = ("policies", "evaluate", "random@1", "--placement", "drawn", "--slots", slots, "--json")
    archive = json.loads((await command(*asked)).stdout)
    files = json.loads((await command(*asked, "--log", tmp_path / "decisions")).stdout)
    assert files["decisions"] == archive["decisions"] == VISITS
    assert files["open"] == archive["open"] == 1
    assert files["estimates"] == archive["estimates"]
    refused = await command("policies", "evaluate", "random@1", "--log", tmp_path / "none", status=1)
    assert "no Parquet file" in refused.stderr
    await command("policies", "evaluate", "random@1", status=2)


async def test_an_export_over_http_is_a_job_with_files_to_download(log: Nextbest, tmp_path: Path) -> None:
    asked = await log.api.call("POST", "/v1/exports", json={"kind": "decisions"}, role="scientist")
    assert asked.status_code == 202
    waiting = asked.json()
    assert (waiting["state"], waiting["files"], waiting["rows"]) == ("waiting", [], None)
    await log.worker.export()
    done = await log.api.ok("GET", f"/v1/exports/{waiting['export_id']}", role="scientist")
    assert (done["state"], done["error"]) == ("done", None)
    assert (done["rows"], done["open"], done["seen"]) == (2 * (VISITS + 1), 1, done["total"])
    read = 0
    for file in done["files"]:
        url = f"/v1/exports/{done['export_id']}/files/{file['day']}/{file['name']}"
        response = await log.api.call("GET", url, role="scientist")
        assert response.headers["content-type"] == "application/vnd.apache.parquet"
        assert len(response.content) == file["bytes"]
        (tmp_path / "file.parquet").write_bytes(response.content)
        read += pq.read_table(tmp_path / "file.parquet").num_rows
    assert read == done["rows"]
    for other in ("2020-01-01/part-0000.parquet", f"{done['files'][0]['day']}/part-9999.parquet"):
        problem_of(await log.api.call("GET", f"/v1/exports/{done['export_id']}/files/{other}"), 404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "nonsense"}, "kind"),
        ({"kind": "outcomes", "format": "dsjson"}, "format"),
        ({"kind": "decisions", "since": "2026-02-01", "until": "2026-01-01"}, "until"),
        ({"kind": "decisions", "since": "yesterday"}, "since"),
        ({"kind": "arms", "since": "2026-02-01"}, "since"),
    ],
)
async def test_what_cannot_be_exported_is_refused(log: Nextbest, body: dict[str, Any], field: str) -> None:
    problem_of(await log.api.call("POST", "/v1/exports", json=body), 422, field)


async def folder_of(log: Nextbest, export_id: str) -> Path:
    """The folder of an export."""
    store = ExportStore(log.api.state.engine)
    return log.settings.export_dir / folder_name(export_id, await store.installation())


async def test_exports_are_gone_after_seven_days_though_nobody_asks_for_another(log: Nextbest) -> None:
    asked = await log.api.ok("POST", "/v1/exports", json={"kind": "outcomes"})
    await log.worker.export()
    url = f"/v1/exports/{asked['export_id']}"
    file = (await log.api.ok("GET", url))["files"][0]
    folder = await folder_of(log, asked["export_id"])
    other = folder.with_name(folder_name(asked["export_id"], "another-installation"))
    assert folder.is_dir()
    other.mkdir()
    async with log.api.state.engine.begin() as connection:
        await connection.execute(sql("UPDATE exports SET asked_at = asked_at - interval '8 days'"))
    for gone in (url, f"{url}/files/{file['day']}/{file['name']}"):
        problem_of(await log.api.call("GET", gone), 404)
    await log.worker.export()
    assert not folder.exists()
    assert other.is_dir(), "installations that share a folder leave each other's files alone"
    assert not await ExportStore(log.api.state.engine).ids()


async def test_an_export_that_another_process_writes_is_left_to_it(log: Nextbest) -> None:
    asked = await log.api.ok("POST", "/v1/exports", json={"kind": "outcomes"})
    url, store = f"/v1/exports/{asked['export_id']}", ExportStore(log.api.state.engine)
    assert await store.take() == asked["export_id"]
    with only_one(await folder_of(log, asked["export_id"]) / "outcomes"):
        await run_export(log.settings, asked["export_id"])
        assert (await log.api.ok("GET", url))["state"] == "running"
    await run_export(log.settings, asked["export_id"])
    assert (await log.api.ok("GET", url))["state"] == "done"


@pytest.mark.usefixtures("in_environment")
async def test_workers_write_an_export_in_a_process_of_its_own(
    log: Nextbest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_EXPORT_DIR", str(log.settings.export_dir))
    asked = await log.api.ok("POST", "/v1/exports", json={"kind": "features"})
    assert await ExportStore(log.api.state.engine).take() == asked["export_id"]
    assert await run_in_process(asked["export_id"]) == 0
    assert (await log.api.ok("GET", f"/v1/exports/{asked['export_id']}"))["state"] == "done"

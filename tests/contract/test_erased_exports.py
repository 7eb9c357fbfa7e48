"""Folders of `nextbest export`: an erasure names those with the person, and `--again` leaves nothing of before."""

import asyncio
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from app.cli import app
from app.config import Settings
from decisioning.exporting.day_files import load_notes, save_notes
from decisioning.exporting.store_folders import FolderStore
from decisioning.privacy.erasure_service import PersonEraser
from tests.support.api import Nextbest, problem_of
from tests.support.erased_person import CANARY, ME, bring_in, decide_for_all, files_with, set_up

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ("decisions", "outcomes", "features", "customers", "arms")


@pytest.fixture(autouse=True)
def in_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's servers, as commands find them; no decision is under way when a person is erased."""
    for name in ("postgres_url", "redis_url", "buckets", "export_dir"):
        monkeypatch.setenv(f"NEXTBEST_{name.upper()}", str(getattr(settings, name)))

    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr(PersonEraser.__init__, "__defaults__", (at_once,))


async def command(*words: object) -> Result:
    result = await asyncio.to_thread(CliRunner().invoke, app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


async def erase(shop: Nextbest, customer_id: str) -> list[tuple[str, str]]:
    """Erase a customer; returns the folders and kinds that are named."""
    path = f"/v1/customers/{customer_id}/erase"
    answer = await shop.api.ok("POST", path, json={"reason": "request 4711"}, role="ops")
    return [(one["folder"], one["kind"]) for one in answer["export_folders"]]


async def live(shop: Nextbest) -> None:
    """A person beside others, all of it in the archive; nobody else's record was changed on the same day."""
    await set_up(shop)
    await bring_in(shop)
    await decide_for_all(shop)
    await shop.worker.expire(ahead_s=30 * 86_400)
    await shop.worker.drain()
    async with shop.api.state.engine.begin() as connection:
        query = text("UPDATE customers SET updated_at = now() - interval '3 days' WHERE customer_id = :id")
        await connection.execute(query, {"id": ME})


def cut_off(day: Path) -> None:
    """Make a day look as a run leaves it that was cut off behind a part."""
    notes = load_notes(day)
    assert notes is not None
    notes.complete = notes.settled = False
    save_notes(day, notes)


async def test_an_export_that_is_written_again_has_nothing_of_who_was_erased(
    shop: Nextbest, tmp_path: Path
) -> None:
    await live(shop)
    needle, out, lines = CANARY.encode(), tmp_path / "out", tmp_path / "lines"
    for kind in KINDS:
        await command("export", kind, "--out", out)
    await command("export", "decisions", "--out", lines, "--format", "dsjson")
    await command("export", "customers", "--out", tmp_path / "deleted")
    await command("export", "decisions", "--out", tmp_path / "later", "--since", "2999-01-01")
    shutil.rmtree(tmp_path / "deleted")
    for folder in (*(out / kind for kind in KINDS[:4]), lines):
        assert files_with(folder, needle), folder
    newest = max((out / "features").glob("day=*"))
    cut_off(newest)
    days = sorted(path.name for path in (out / "customers").glob("day=*"))
    assert len(days) == 2

    named = await erase(shop, ME)
    expected = [(str(tmp_path / "deleted"), "customers"), (str(lines), "decisions")]
    expected += [(str(out), kind) for kind in sorted(KINDS) if kind != "arms"]
    assert sorted(named) == sorted(expected), "not the arms, and not the folder that has no rows"
    assert files_with(out, needle), "these files are somebody's: nobody has touched them"

    arms = {path: path.read_bytes() for path in (out / "arms").rglob("*.parquet")}
    for kind in KINDS:
        await command("export", kind, "--out", out, "--again")
    await command("export", "decisions", "--out", lines, "--format", "dsjson", "--again")
    assert files_with(tmp_path, needle) == []
    assert arms.keys() == {*(out / "arms").rglob("*.parquet")}
    assert [path.name for path in (out / "customers").glob("day=*")] == days[1:]
    names = {row["customer_id"] for row in pq.read_table(out / "decisions").to_pylist()}
    assert {"other-1", "other-2"} <= names
    assert len([name for name in names if name.startswith("erased-")]) == 2  # the person, and the visitor

    assert await erase(shop, ME) == [(str(tmp_path / "deleted"), "customers")]
    await command("privacy", "forget-folder", tmp_path / "deleted", "--reason", "deleted by hand")
    assert await erase(shop, ME) == []
    listed = [json.loads(line) for line in (await command("privacy", "folders")).output.splitlines()]
    assert {(one["folder"], one["kind"]) for one in listed} == {
        *expected[1:],
        (str(tmp_path / "later"), "decisions"),
    }
    assert all(one["author"].endswith("command line)") for one in listed)


async def test_folders_on_other_hosts_are_named_until_they_are_forgotten(
    shop: Nextbest, tmp_path: Path
) -> None:
    api, folder = shop.api, "/srv/export"
    store = FolderStore(api.state.engine)
    for kind in ("customers", "decisions"):
        await store.note("elsewhere", folder, kind, "ann")
    assert [one for one in await erase(shop, "nobody") if one[0] == folder] == [
        (folder, "customers"),
        (folder, "decisions"),
    ]
    await api.ok("PUT", "/v1/customers/typed", json={"attributes": {"age": 3}})
    await command("export", "customers", "--out", tmp_path / "typed")
    said = (await command("customers", "erase", "typed")).output
    assert f"{tmp_path / 'typed'}/customers on {socket.gethostname()} has the person still" in said
    assert "/srv/export/decisions on elsewhere" in said

    path: str = "/v1/privacy/folders"
    where: dict[str, Any] = {"host": "elsewhere", "folder": folder}
    problem_of(await api.call("DELETE", path, params={"host": "elsewhere"}, role="ops"), 422, "folder")
    for more in ({"kind": "decisions", "reason": "deleted"}, {}):
        assert (await api.call("DELETE", path, params=where | more, role="ops")).status_code == 204
    problem_of(await api.call("DELETE", path, params=where, role="ops"), 404)
    assert not [one for one in (await api.ok("GET", path))["folders"] if one["host"] == "elsewhere"]
    rest, first = (await api.ok("GET", "/v1/privacy/actions", params={"limit": 2}))["actions"]
    assert (first["action"], first["author"], first["reason"]) == ("folder_forgotten", "test ops", "deleted")
    assert first["details"] == where | {"kinds": ["decisions"]}
    assert rest["details"] == where | {"kinds": ["customers"]}

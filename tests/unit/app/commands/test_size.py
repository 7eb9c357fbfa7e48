"""`nextbest size`: the formula, and what it says of an installation."""

import asyncio
import re
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.commands.size import DAY_S, TYPICAL, Load, load_of, parts_of
from app.config import Settings
from app.embedded.servers import EmbeddedServers
from decisioning.log.store_size import KINDS, KeysOfKind, LastDay
from tests.support.api import Worker, decide, fill_shop, make_keys, running

LOAD = Load(100.0, 2.0, 8.0 * DAY_S, 0.5, 30.0 * DAY_S, 4_000.0, 1_000_000, 2_000_000, 300, 10**6)


def test_the_parts_are_the_formula_of_the_readme() -> None:
    parts = {row.name.split(",")[0]: row.bytes for row in parts_of(LOAD, TYPICAL)}
    assert parts == {
        "waiting decisions": 100 * 8 * DAY_S * (TYPICAL["decision"] + 124),
        "notes of callers' own ids": 100 * 0.5 * 30 * DAY_S * TYPICAL["owner"],
        "profiles in the cache": 1_000_000 * TYPICAL["profile"],
        "contact histories": 2_000_000 * TYPICAL["contact"],
        "decisions in the log": 100 * 300 * (4_000 + 2 * 300),
        "arms": 10**6,
    }


def test_the_load_is_that_of_the_last_day() -> None:
    kinds = {kind: KeysOfKind() for kind in KINDS} | {"profile": KeysOfKind(500, 900.0, 400)}
    day = LastDay(86_400, 172_800, {"home": 0.75, "gone": 0.25}, 0.1, 3_000.0)
    load = load_of(day, {"home": DAY_S, "desk": 3 * DAY_S}, kinds, 300, 7)
    assert (load.decisions_per_s, load.outcomes_per_decision) == (1.0, 2.0)
    assert load.waits_s == 0.75 * DAY_S + 0.25 * 2 * DAY_S + DAY_S
    assert (load.note_s, load.own_ids) == (30 * DAY_S, 0.1)
    assert (load.profiles, load.contacts, load.arms_bytes) == (500, 0, 7)


def test_nothing_decided_yet() -> None:
    load = load_of(LastDay(0, 0, {}, 0.0, 0.0), {}, {kind: KeysOfKind() for kind in KINDS}, 300, 0)
    assert load.decisions_per_s == 0
    assert load.waits_s == 8 * DAY_S


@pytest.fixture
def settings(postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)
    monkeypatch.setenv("NEXTBEST_BUCKETS", "8")
    return Settings(postgres_url=postgres_url, redis_url=redis_url, buckets=8, log_level="error")


def test_an_installation_tells_its_own_size(settings: Settings) -> None:
    async def live() -> None:
        worker = Worker(settings)
        await worker.start()
        try:
            async with running(settings, await make_keys(settings)) as api:
                await fill_shop(api)
                for number in range(30):
                    own: dict[str, Any] = {"decision_id": f"own-{number}"} if number < 15 else {}
                    await decide(api, f"c{number}", **own)
                await worker.drain()
        finally:
            await worker.close()

    asyncio.run(live())
    result = CliRunner().invoke(app, ["size"])
    assert result.exit_code == 0, result.output
    assert "0.00 decisions/s, which wait 8.0 days on average" in result.output
    for estimated in ("profiles in the cache", "contact histories"):  # there are 30 of each
        assert 22 <= part(result.output, estimated)[0] <= 38
    assert "redis uses" in result.output

    planned = CliRunner().invoke(app, ["size", "--decisions-per-second", "100", "--customers", "1000000"])
    count, bytes_each = part(planned.output, "waiting decisions")
    assert count == 100 * 8 * DAY_S
    assert 300 < bytes_each <= 600
    assert part(planned.output, "notes of callers' own ids")[0] == 50 * 30 * DAY_S
    assert part(planned.output, "profiles in the cache")[0] == 1_000_000
    assert part(planned.output, "decisions in the log, 300 s")[0] == 30_000


def part(printed: str, name: str) -> tuple[int, int]:
    """Return how many there are of a part, and the bytes of each."""
    found = re.search(rf"^{re.escape(name)} +([\d,]+) x +([\d,]+) B", printed, re.MULTILINE)
    assert found is not None, printed
    return int(found[1].replace(",", "")), int(found[2].replace(",", ""))


def test_servers_that_are_of_no_use_are_said(
    servers: EmbeddedServers, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_REDIS_URL", "redis://127.0.0.1:1/0")
    result = CliRunner().invoke(app, ["size"])
    assert result.exit_code == 1
    assert "redis" in result.output

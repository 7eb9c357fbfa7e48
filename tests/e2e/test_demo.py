"""`nextbest demo` as a user runs it: from nothing to a report, and nothing left running."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from app.embedded.server_urls import ServerUrls
from app.embedded.servers import EmbeddedServers
from demo.client import DemoError
from demo.service import create_key, require_empty
from tests.support.folders import open_folder
from tests.support.waiting import MAX_WAIT_S, wait_until

COMMAND = (sys.executable, "-m", "app.cli", "demo")


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder for the demo."""
    made = open_folder()
    yield made
    shutil.rmtree(made, ignore_errors=True)


def environment(data_dir: Path) -> dict[str, str]:
    """Ours without settings, and with a data folder of the test's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEXTBEST_")}
    return {**kept, "NEXTBEST_DATA_DIR": str(data_dir), "PYTHONWARNINGS": "error::ResourceWarning"}


def left_over(data_dir: Path) -> list[str]:
    """Command lines of processes that still mention the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data_dir) in line:
            found.append(line)
    return found


def test_a_short_demo_serves_and_learns_and_leaves_nothing_behind(folder: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "--seconds", "4"],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=MAX_WAIT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "demo-report.json").read_text())
    assert report["learned"] is True
    assert report["decisions"] > 0
    assert report["feedback"] > 0
    assert report["errors"] == {}
    assert report["data"]["purchases_before"] == 5076
    assert report["events"]["recorded"] == sum(report["events"].values()) > 0
    assert report["firings"].get("delivered", 0) > 0
    assert {*report["firings"]} <= {
        "delivered",
        "nothing",
        "due",
        "decided",
    }  # nothing of what was bought before
    interests = report["interests"]
    assert interests["customers"] == 2469
    told = {row["concept"]: row for row in interests["interests"]}
    assert len(told) > 1
    # Most households of the sample that bought something in the last week bought groceries.
    assert told["grocery"]["customers"] > interests["sample"] / 10
    assert told["grocery"]["total"] > told["grocery"]["customers"] / 2
    assert sum(row["share"] for row in told.values()) == pytest.approx(1.0)
    assert report["data"]["rows"] == {"customers": 2469, "propensities": 66_663, "history": 3940}
    rows = {row["policy"]: row for row in report["acceptance"]}
    live = [row for row in rows.values() if "no uplift claimed" not in row["note"]]
    (history,) = (row for row in rows.values() if "no uplift claimed" in row["note"])
    assert (history["decided"], history["accepted"]) == (3940, 527)
    assert {"calibrated", "random"} <= {row["policy"] for row in live}
    for row in live:
        assert 0 <= row["low"] <= row["rate"] <= row["high"] <= 1
    assert 0 < sum(row["accepted"] for row in live) <= report["answers"]["accepted"]
    offers = report["explained"]["offers"]
    assert [offer["rank"] for offer in offers] == list(range(1, len(offers) + 1))
    fates = {c["offer_id"]: c["result"] for c in report["explained"]["explanation"]}
    assert len(fates) == 27
    assert [o["offer_id"] for o in offers] == [o for o, fate in fates.items() if fate == "chosen"] != []
    for offer in offers:
        factors = offer["factors"]
        product = factors["P"] * factors["C"] * factors["V"] * factors["L"]
        assert offer["score"] == pytest.approx(product)
        assert 0 < offer["probability"] <= 1
    stages = {c["stage"] for c in report["explained"]["explanation"] if c["result"] == "stopped"}
    assert "dates" in stages
    assert stages & {"eligibility", "applicability", "suitability"}
    for words in (
        "events of purchases, triggers fired",
        "Interests told by purchases",
        "simulated",
        "no uplift",
        "curl -s http://127.0.0.1:",
        "API key",
        "/docs",
    ):
        assert words in done.stdout
    assert left_over(folder) == []


def test_interrupting_the_set_up_leaves_nothing_behind(folder: Path) -> None:
    log = folder / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            COMMAND, env=environment(folder), stdout=output, stderr=output, start_new_session=True
        )
        wait_until(
            lambda: "start PostgreSQL" in log.read_text(), "the set-up", timeout_s=120, explain=log.read_text
        )
        process.send_signal(signal.SIGINT)
        wait_until(
            lambda: process.poll() is not None, "the demo to end", timeout_s=120, explain=log.read_text
        )
        assert process.returncode == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    assert left_over(folder) == []


async def test_configured_servers_are_used_only_if_they_are_empty(
    servers: EmbeddedServers, postgres_url: str, redis_url: str
) -> None:
    migrated, bare = ServerUrls(postgres_url, redis_url), servers.urls
    await require_empty(migrated)
    await require_empty(bare)
    assert (await create_key(postgres_url)).startswith("nb_admin_")
    await require_empty(migrated)
    with redis.Redis.from_url(redis_url) as client:
        client.set("something", "of somebody")
        with pytest.raises(DemoError, match="only writes to empty ones"):
            await require_empty(migrated)
        client.flushall()
    connection = await asyncpg.connect(postgres_url)
    await connection.execute("INSERT INTO customers (customer_id) VALUES ('real')")
    await connection.close()
    with pytest.raises(DemoError, match="only writes to empty ones"):
        await require_empty(migrated)

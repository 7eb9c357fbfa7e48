"""`nextbest demo` as a user runs it: from nothing to a report, and nothing left running."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import psutil
import pytest
import redis

from app.embedded.server_urls import ServerUrls
from app.embedded.servers import EmbeddedServers
from demo.client import DemoError
from demo.names import CANARY, DESK, SHADOW, WEB
from demo.serving.keys import create_keys
from demo.serving.service import require_empty
from demo.steering import ALERT, REASONS
from nextbest_client import Client, Refused
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
    return {
        **kept,
        "NEXTBEST_DATA_DIR": str(data_dir),
        "PYTHONWARNINGS": "error::ResourceWarning",
        "PYTHONUNBUFFERED": "1",
    }


def left_over(data_dir: Path) -> list[str]:
    """Command lines of processes that still mention the folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(data_dir) in line:
            found.append(line)
    return found


def test_a_short_demo_serves_and_learns_and_leaves_nothing_behind(folder: Path) -> None:
    log = folder / "output"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*COMMAND, "--seconds", "300"], env=environment(folder), stdout=output, stderr=output
        )
        try:
            wait_until(
                lambda: "Ask for a decision" in log.read_text() or process.poll() is not None,
                "the keys",
                timeout_s=120,
                progress=lambda: log.stat().st_size,
                explain=log.read_text,
            )
            assert process.poll() is None, log.read_text()
            try_keys(log.read_text())
            # On a busy machine few baskets are sent in the seconds that are enough on another.
            wait_until(lambda: delivered(log.read_text()), "a large basket", explain=log.read_text)
            wait_until(
                lambda: evaluated(log.read_text()), "the evaluation of the shadow", explain=log.read_text
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(MAX_WAIT_S) == 0, log.read_text()
        finally:
            process.terminate()
            process.wait(MAX_WAIT_S)
    printed = log.read_text()
    report = json.loads((folder / "demo-report.json").read_text())
    assert report["learned"] is True
    assert report["decisions"] > 0
    assert report["feedback"] > 0
    assert report["errors"] == {}, printed
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
        "households were held out",
        "Shadow habits@1: asked about",
        "Canary by-type@1: ",
        "Reasons for a no: ",
    ):
        assert words in printed
    beside = report["beside"]
    assert beside["holdout"]["held_out"] > 0
    assert beside["holdout"]["treated"] > beside["holdout"]["held_out"]
    measures = {one["measure"] for one in beside["holdout"]["measures"]}
    assert measures == {"acceptances", "value", "purchase:amount"}
    assert beside["shadow"]["decisions"] > 0
    assert beside["shadow"]["failures"] == []
    assert (beside["canary"]["policy"], beside["canary"]["failures"]) == (CANARY, 0)
    assert beside["canary"]["decisions"] > 0
    assert beside["reasons"].keys() <= REASONS.keys()
    assert sum(beside["reasons"].values()) > 0
    assert CANARY in rows
    assert left_over(folder) == []


def given_by(printed: str) -> dict[str, str]:
    """The address and the keys that a demo has printed, by their names."""
    return dict(re.findall(r"^(API|API key|agent key|page key) +(\S+)$", printed, re.MULTILINE))


def delivered(printed: str) -> bool:
    """Whether a household was written to after a large basket."""
    given = given_by(printed)
    with Client(given["API"], given["API key"], timeout_s=30.0) as admin:
        triggers = admin.request("GET", "/v1/firings/counts", params={"days": "1"})["triggers"]
    return any(one["counts"].get("delivered") for one in triggers)


def evaluated(printed: str) -> bool:
    """Whether the page of evaluations has a run with a result."""
    given = given_by(printed)
    with Client(given["API"], given["API key"], timeout_s=30.0) as admin:
        found = admin.request("GET", "/v1/evaluations")["evaluations"]
        assert all((one["policy"], one["placement"]) == (f"{SHADOW}@1", WEB) for one in found)
        assert all(one["state"] != "failed" for one in found), found
    return any(one["state"] == "done" for one in found)


def try_keys(printed: str) -> None:
    """Each key that a running demo has printed opens what it is said to open, and no more."""
    given = given_by(printed)
    url = given["API"]
    asked = {"customer_id": "household-1", "placement": DESK, "context": {"reason": "question"}}
    with Client(url, given["API key"], timeout_s=30.0) as admin:
        (alert,) = admin.request("GET", "/v1/alert-rules")
        assert (alert["id"], alert["watches"]) == (ALERT, "capacity_used")
        (proposed,) = admin.request("GET", "/v1/changesets")["changesets"]
        assert proposed["state"] == "submitted"
        stages = {
            one["policy"]: one["stage"]
            for one in admin.request("GET", f"/v1/placements/{WEB}/policies")["policies"]
        }
        assert (stages[f"{SHADOW}@1"], stages[f"{CANARY}@1"]) == ("shadow", "canary")
    with Client(url, given["agent key"], timeout_s=30.0) as agent:
        assert {one["reason_id"] for one in agent.request("GET", "/v1/desk")["reasons"]} == {*REASONS}
        assert agent.request("POST", "/v1/decisions", asked)["placement"] == DESK
        with pytest.raises(Refused, match=r"^403"):
            agent.request("GET", "/v1/offers")
    (page,) = re.findall(r"http://\S+/sample/index\.html\S+", printed)
    assert "A shop" in httpx.get(page).text
    parts = urlsplit(page)
    named = {name: value for name, (value,) in parse_qs(parts.query).items()}
    assert named == {"url": url, "key": given["page key"], "placement": WEB}
    with httpx.Client(
        base_url=url, params={"key": named["key"]}, headers={"Origin": f"{parts.scheme}://{parts.netloc}"}
    ) as http:
        visitor = {"visitor_id": "visitor-0123456789", "context": {"page": "home"}}
        for placement, status in ((WEB, 200), (DESK, 403)):
            answer = http.post("/public/v1/decisions", json=visitor | {"placement": placement})
            assert answer.status_code == status, answer.text
        assert http.get("/v1/offers").status_code == 401


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
    keys = await create_keys(postgres_url, [])
    assert (keys.admin[:9], keys.agent[:9], keys.page[:7]) == ("nb_admin_", "nb_agent_", "nb_pub_")
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

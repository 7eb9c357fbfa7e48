"""The page on policies is tried out: its calls are run as they stand, from the first to the last."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from app.commands.policies import app as command
from app.config import Settings
from bandits.registry import ALGORITHMS
from tests.support.api import Worker, decide, fill_shop, running, tell
from tests.support.documented_calls import run_script

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policies.md"
BLOCK = re.compile(r"^<!-- test:policies -->\s*\n```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def work(settings: Settings) -> None:
    """Do the work of a worker while the reader of the page reads on: archive, warm up, learn."""

    async def rounds() -> None:
        worker = Worker(settings)
        try:
            await worker.archive()
            await worker.warm()
            await worker.learn()
        finally:
            await worker.close()

    asyncio.run(rounds())


@pytest.fixture
def history(settings: Settings, environment: dict[str, str]) -> None:
    """A shop in which something has been learned."""

    async def fill() -> None:
        async with running(settings, {"admin": environment["KEY"], "frontend": environment["KEY"]}) as api:
            await fill_shop(api)
            for number in range(10):
                answer = await decide(api, f"before-{number}")
                await tell(api, answer["decision_id"], answer["offers"][0]["offer_id"], "accepted")

    asyncio.run(fill())


def test_the_calls_of_the_page_work(settings: Settings, environment: dict[str, str], history: None) -> None:
    answers: list[Any] = []
    for script in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        found = run_script(script, environment)
        assert found, script
        assert [a for a in found if "errors" in a or isinstance(a.get("status"), int)] == [], script
        answers += found
        work(settings)
    assert [a["state"] for a in answers if a.get("policy") == "spring@1"] == ["registered", "live", "retired"]
    # Two offers were shown in each of ten decisions, and one of them was accepted.
    assert answers[1]["folded"] == answers[1]["total"] == 30
    stages = [{one["policy"]: one["stage"] for one in a["policies"]} for a in answers if "policies" in a]
    life = [found.get("spring@1") for found in stages[:6]]
    assert life == ["shadow", "canary", "canary", "champion", "retired", "retired"]
    assert [a["policy"]["name"] for a in answers if "decision_id" in a] == ["caller"]


def test_what_the_page_names_is_there() -> None:
    page = PAGE.read_text(encoding="utf-8")
    row = re.search(r"^\| `algorithm` \|(.*)\|$", page, re.MULTILINE)
    assert row
    named = set(re.findall(r"`(\w+)`", row[1]))
    assert named <= set(ALGORITHMS)
    commands = {c.name or c.callback.__name__ for c in command.registered_commands if c.callback}
    assert set(re.findall(r"^nextbest policies (\w+)", page, re.MULTILINE)) <= commands

"""`nextbest changesets` and `nextbest catalog` where changes of the catalogue take the approval of another person."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.config import Settings
from app.keys import KeyStore
from storage.postgres import make_engine
from tests.support.documented_calls import shell_environment
from tests.support.waiting import wait_until

DOCUMENT = "nextbest: 1\ngroups:\n  cards: {name: Cards, goal: grow, lever: 0}\n"


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[str]:
    """The address of a service where approvals are required, with a group."""
    strict = settings.model_copy(update={"approvals": "required"})
    with shell_environment(strict) as found:
        headers = {"X-API-Key": found["KEY"]}
        with httpx.Client(base_url=found["URL"], headers=headers) as http:
            wait_until(lambda: http.get("/v1/groups").is_success, "the key to be known")
            http.put("/v1/groups/cards", json={"name": "Cards", "goal": "grow"}).raise_for_status()
        yield found["URL"]


@pytest.fixture(scope="module")
def keys(settings: Settings, service: str) -> dict[str, str]:
    """Keys of two persons."""

    async def make() -> dict[str, str]:
        engine = make_engine(str(settings.postgres_url), pool_size=1)
        try:
            return {name: await KeyStore(engine).create("ops", name) for name in ("ada", "bea")}
        finally:
            await engine.dispose()

    found = asyncio.run(make())

    def known() -> bool:
        return all(
            httpx.get(f"{service}/v1/groups", headers={"X-API-Key": key}).is_success for key in found.values()
        )

    wait_until(known, "the keys to be known")
    return found


@pytest.fixture(autouse=True)
def environment_of_commands(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's servers, as commands find them."""
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", str(settings.postgres_url))
    monkeypatch.setenv("NEXTBEST_REDIS_URL", str(settings.redis_url))
    monkeypatch.setenv("NEXTBEST_APPROVALS", "required")
    monkeypatch.setenv("NO_PROXY", "*")


def nextbest(*words: object, status: int = 0) -> Result:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == status, result.output
    return result


def test_a_file_is_proposed_approved_and_applied(service: str, keys: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(DOCUMENT.replace("lever: 0", "lever: 12"), encoding="utf-8")
    ada, bea = (("--url", service, "--key", keys[name]) for name in ("ada", "bea"))
    refused = nextbest("catalog", "apply", file, "--yes", *ada, status=1)
    assert "make a change set" in refused.stderr

    made = nextbest("changesets", "propose", file, "--title", "Push cards", *ada).stdout
    number = re.search(r"change set (\d+) is a draft: Push cards", made)
    assert number is not None
    it = number[1]
    shown = nextbest("changesets", "diff", it, *bea).stdout
    assert "+ groups.cards.lever: 12.0" in shown
    assert "1 changed: groups.cards" in shown
    nextbest("changesets", "submit", it, "--note", "please", *ada)
    assert f"{it}  submitted  ada  Push cards" in nextbest("changesets", "list", *bea).stdout
    assert nextbest("changesets", "list", "--state", "applied", *bea).stdout == ""
    assert "another person" in nextbest("changesets", "approve", it, "--yes", *ada, status=1).stderr
    assert "there is nobody to ask" in nextbest("changesets", "approve", it, *bea, status=1).stderr
    approved = nextbest("changesets", "approve", it, "--yes", "--note", "fine", *bea).stdout
    assert "+ groups.cards.lever: 12.0" in approved, "what is approved is shown"
    assert "approved (approved by bea)" in approved
    assert "the catalogue is at version" in nextbest("changesets", "apply", it, "--yes", *ada).stdout
    told = nextbest("changesets", "show", it, *bea).stdout
    for text in ("~ group/cards", "ada  submit: please", "bea  approve: fine", "ada  apply"):
        assert text in told
    assert "is applied" in nextbest("changesets", "apply", it, "--yes", *ada, status=1).stderr


def test_what_is_wrong_is_said(service: str, keys: dict[str, str], tmp_path: Path) -> None:
    ada = ("--url", service, "--key", keys["ada"])
    assert "no change set '999'" in nextbest("changesets", "show", 999, *ada, status=1).stderr
    file = tmp_path / "wrong.yaml"
    file.write_text("nextbest: 1\ngroups:\n  a: {name: A, goal: win}\n", encoding="utf-8")
    said = nextbest("changesets", "propose", file, "--title", "x", *ada, status=1).stderr
    assert f"{file}:3: groups.a: goal" in said


def test_on_a_database_it_takes_a_word_that_the_audit_trail_tells(service: str, tmp_path: Path) -> None:
    file = tmp_path / "catalogue.yaml"
    file.write_text(DOCUMENT.replace("lever: 0", "lever: 77"), encoding="utf-8")
    refused = nextbest("catalog", "apply", file, "--yes", status=1)
    assert "nextbest changesets propose" in refused.stderr
    assert "without-approval" in nextbest("catalog", "rollback", 1, "--reason", "x", status=1).stderr
    nextbest("catalog", "apply", file, "--yes", "--without-approval", "--reason", "it burns")
    assert "(command line): without approval: it burns" in nextbest("catalog", "history", "--limit", 1).stdout
    nextbest("catalog", "rollback", 1, "--reason", "over", "--without-approval")
    assert ": without approval: over" in nextbest("catalog", "history", "--limit", 1).stdout

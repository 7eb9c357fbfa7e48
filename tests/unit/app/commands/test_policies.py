"""`nextbest policies`, on a real database: the life of a policy from the command line."""

import asyncio
import re
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from app.cli import app
from app.commands.terminal import author
from decisioning.catalog.store import CatalogueStore
from decisioning.policies.store import PolicyStore
from storage.postgres import make_engine, transaction
from tests.support.onnx_models import logistic_file

SPEC = "name: spring\nalgorithm: thompson\nparameters:\n  half_life_days: 30\nlearn_since: 2026-03-01\n"


@pytest.fixture(autouse=True)
def environment(postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's servers, as the command finds them."""
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)


@pytest.fixture(scope="module", autouse=True)
def placement(postgres_url: str) -> None:
    """A placement to stage in."""

    async def put() -> None:
        engine = make_engine(postgres_url, pool_size=1)
        body = {"channel": "web", "policy": "thompson"}
        await CatalogueStore(engine).put("placement", "home", body, "tests")
        await engine.dispose()

    asyncio.run(put())


def nextbest(*words: object, status: int = 0, said: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["policies", *map(str, words)], input=said)
    assert result.exit_code == status, result.output
    return result


def live(postgres_url: str, key: str) -> None:
    """Make a policy live, as a worker would."""

    async def work() -> None:
        engine = make_engine(postgres_url, pool_size=1)
        assert await PolicyStore(engine).begin_warm_start(key)
        async with transaction(engine) as connection:
            await connection.execute(text("UPDATE policies SET state = 'live' WHERE state = 'folding'"))
        await engine.dispose()

    asyncio.run(work())


def test_from_a_file_to_champion_and_back(tmp_path: Path, postgres_url: str) -> None:
    file = tmp_path / "spring.yaml"
    file.write_text(SPEC, encoding="utf-8")
    assert "spring@1 is registered\n" in nextbest("register", file, "--reason", "a try").stdout
    assert "already" in nextbest("register", "-", said=SPEC).stdout
    assert "waits for its warm start" in nextbest("progress").stdout
    shown = nextbest("show", "spring").stdout
    assert "half_life_days: 30" in shown
    assert "learn_since: '2026-03-01T00:00:00.000Z'" in shown
    assert "a try" in shown
    nextbest("stage", "spring@1", "shadow", "--placement", "home")
    refused = nextbest("stage", "spring@1", "canary", "--placement", "home", status=1)
    assert "warm start" in refused.stderr
    live(postgres_url, "spring@1")
    assert "no warm starts" in nextbest("progress", "--follow").stdout
    staged = nextbest("stage", "spring@1", "canary", "--placement", "home", "--share", 0.25)
    assert "spring@1 is canary with 0.25 of the customers" in staged.stdout
    nextbest("stage", "spring@1", "champion", "--placement", "home", "--reason", "better")
    listed = nextbest("list").stdout
    assert "spring@1  live; champion in home" in listed
    assert "random@1  built in\n" in listed
    assert "in use in home" in nextbest("retire", "spring@1", status=1).stderr
    assert "thompson@1 is champion" in nextbest("rollback", "--placement", "home").stdout
    assert "spring@1 is retired" in nextbest("retire", "spring@1", "--reason", "summer").stdout
    assert "already" in nextbest("retire", "spring@1").stdout
    assert "spring@1 is revived" in nextbest("revive", "spring@1", "--reason", "spring again").stdout
    assert "not retired" in nextbest("revive", "spring@1").stdout
    changes = re.findall(
        r"^# (\w+): [-0-9]+ [0-9:]+, (.*): (.*)$", nextbest("show", "spring").stdout, re.MULTILINE
    )
    assert changes == [("revived", author(), "spring again"), ("retired", author(), "summer")]


def test_the_autopilot_is_switched_on_and_off() -> None:
    on = nextbest("autopilot", "--placement", "home", "--on", "--share", 0.3, "--reason", "no time")
    assert "home: the autopilot is on\nhome: thompson@1 is champion" in on.stdout
    assert "home: the autopilot is off" in nextbest("autopilot", "--placement", "home", "--off").stdout
    assert "--on" in nextbest("autopilot", "--placement", "home", status=2).output


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("show", "nobody"), "no policy"),
        (("show", "nobody@1"), "no policy"),
        (("retire", "nobody@1"), "no policy"),
        (("revive", "nobody@1"), "no policy"),
        (("retire", "thompson@1"), "built in"),
        (("rollback", "--placement", "nowhere"), "no placement"),
        (("stage", "random@1", "shadow", "--placement", "nowhere"), "no placement"),
        (("autopilot", "--on", "--placement", "nowhere"), "no placement"),
        (("autopilot", "--on", "--placement", "home", "--share", "2"), "share"),
        (("stage", "random@1", "canary", "--placement", "home", "--share", "2"), "share"),
        (("register", "missing.yaml"), "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: tuple[str, ...], reason: str) -> None:
    said = nextbest(*words, status=1).stderr
    assert reason in said
    assert said.count("\n") == 1


def test_a_stage_that_is_none() -> None:
    nextbest("stage", "random@1", "registered", "--placement", "home", status=2)


def test_a_placement_that_is_not_there_is_warned_of() -> None:
    said = nextbest("register", "-", said="name: typo\nalgorithm: thompson\nplacements: [home, hoome]\n")
    assert "typo@1 is registered\n" in said.stdout
    assert re.fullmatch(r"warning: placements: .* 'hoome'.*; did you mean 'home'\?\n", said.stderr)
    assert "# warning: placements: there is no placement 'hoome'" in nextbest("show", "typo@1").stdout


def test_a_specification_that_is_wrong_names_the_field() -> None:
    said = nextbest("register", "-", said="name: odd\nalgorithm: thomson\n", status=1).stderr
    assert "algorithm: " in said
    assert "thompson" in said


def test_auto_features_are_chosen_when_registered_and_shown(tmp_path: Path, postgres_url: str) -> None:
    async def declare() -> None:
        engine = make_engine(postgres_url, pool_size=1)
        await CatalogueStore(engine).put("attribute", "customer.tenure", {"type": "int"}, "tests")
        await engine.dispose()

    asyncio.run(declare())
    file = tmp_path / "auto.yaml"
    file.write_text("name: by-itself\nalgorithm: calibrated\nfeatures: auto\n")
    nextbest("register", file)
    shown = nextbest("show", "by-itself@1").output
    assert "path: customer.tenure" in shown
    assert "auto: true" in shown
    assert "says the same" in nextbest("register", file).output


def test_a_model_file_is_registered_beside_its_specification(tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(logistic_file([0.1]))
    file = tmp_path / "mine.yaml"
    file.write_text(
        "name: mine\nalgorithm: onnx\nparameters: {model_file: mine.onnx}\n"
        "features: [{name: age, kind: numeric, path: customer.age, default: 40}]\n"
    )
    assert "mine@1 is registered\n" in nextbest("register", file).stdout
    assert "already" in nextbest("register", file).stdout
    shown = nextbest("show", "mine@1").stdout
    assert re.search(r"model: sha256:[0-9a-f]{64}\n", shown)
    assert "already" in nextbest("register", "-", said=shown).stdout
    assert "passed  choosing_is_pure" in nextbest("check", "onnx", "--spec", file).stdout
    corrected = "name: corrected\nalgorithm: calibrated\npropensity_source: mine@1\n"
    assert "corrected@1 is registered" in nextbest("register", "-", said=corrected).stdout
    assert "propensity_source: mine@1" in nextbest("show", "corrected").stdout
    wrong = corrected.replace("mine@1", "mine@7")
    assert "no registered policy mine@7" in nextbest("register", "-", said=wrong, status=1).stderr

"""`nextbest registers`: made, changed, listed and deleted, each with an entry in the trail."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import migrations
from app.cli import app
from profiles import store_cache

BODY = ("--field", "phone", "--form", "phone", "--country-code", "34", "--reason", "the national register")


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, postgres_url: str, redis_url: str) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)
    monkeypatch.setattr(store_cache, "FILL_WITHIN_S", 0.0)  # nobody reads profiles meanwhile
    migrations.upgrade(postgres_url)


def run(*words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["registers", *words])
    assert result.exit_code == status, result.output
    return result


def test_a_register_is_made_changed_listed_and_deleted(database: None, tmp_path: Path) -> None:
    file = tmp_path / "salt"
    file.write_text(" of the register\n")
    run("put", "do-not-call", *BODY, "--salt-file", str(file))
    run("put", "do-not-call", *BODY, "--salt", " of the register")  # the same: no line feed is in it
    run("put", "do-not-call", *BODY, "--without-value", "pass")  # its salt is kept
    run("put", "do-not-call", *BODY, "--salt", " of the register", "--without-value", "pass")
    (shown,) = (json.loads(line) for line in run("list").output.splitlines())
    assert (shown["register_id"], shown["without_value"], shown["entries"]) == ("do-not-call", "pass", 0)
    assert "salt" not in shown
    run("delete", "do-not-call", "--reason", "a newer one")
    assert run("list").output == ""
    assert "there is no register" in run("delete", "do-not-call", status=1).output
    trail = CliRunner().invoke(app, ["privacy", "trail"]).output.splitlines()
    deleted, changed, made = (json.loads(line) for line in trail)
    assert (made["action"], made["details"]["new"]) == ("register_stored", True)
    assert (changed["action"], changed["details"]["changed"]) == ("register_stored", ["without_value"])
    assert (deleted["action"], deleted["reason"]) == ("register_deleted", "a newer one")
    assert all(one["author"].endswith("command line)") for one in (made, changed, deleted))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x", *BODY), "salt: is missing"),
        (("x", *BODY, "--salt", "", "--salt-file", "none"), "--salt-file"),
        (("x", *BODY, "--salt-file", "/not/there"), "/not/there"),
        (("a b", *BODY, "--salt", ""), "register_id"),
        (("x", *BODY, "--salt", "", "--without-value", "maybe"), "without_value"),
        (("x", *BODY, "--salt", "", "--country-code", "034"), "country_code"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(database: None, words: tuple[str, ...], said: str) -> None:
    assert said in run("put", *words, status=1).output
    assert run("list").output == ""

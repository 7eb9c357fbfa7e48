"""`nextbest privacy` and `nextbest customers consents`: the trail, retention at once, and the history of consents."""

import json

import pytest
from typer.testing import CliRunner, Result

import migrations
from app.cli import app


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, postgres_url: str, redis_url: str) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)
    monkeypatch.setenv("NEXTBEST_RETENTION", "suppressions:30")
    migrations.upgrade(postgres_url)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_retention_wants_to_be_told_whether_to_remove(database: None) -> None:
    result = run("privacy", "retention")
    assert result.exit_code == 1
    assert "--dry-run" in result.output
    assert "--run" in result.output


def test_a_run_of_retention_and_a_look_at_it_are_in_the_trail(database: None) -> None:
    assert "0 would be removed (limits: suppressions:30" in run("privacy", "retention", "--dry-run").output
    result = run("privacy", "retention", "--run", "--reason", "audit")
    assert (result.exit_code, "0 removed" in result.output) == (0, True)
    last, first = (json.loads(line) for line in run("privacy", "trail", "--limit", "2").output.splitlines())
    assert (last["action"], last["reason"], last["details"]["dry_run"]) == ("retention", "audit", False)
    assert (first["action"], first["details"]["dry_run"]) == ("retention", True)
    assert "command line" in last["author"]
    assert run("privacy", "trail", "--customer", "nobody").output == ""


def test_the_consents_of_a_customer_are_shown_as_json(database: None) -> None:
    result = run("customers", "consents", "nobody")
    assert result.exit_code == 0, result.output
    expected = {"customer_id": "nobody", "consents": {}, "objections": {}, "records": []}
    assert json.loads(result.output) == expected

"""Commands that look at a database, or change it, make none where there is none."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "list"],
        ["keys", "create", "--role", "ops"],
        ["keys", "rotate", "desk"],
        ["catalog", "export"],
        ["catalog", "history"],
        ["size"],
        ["ids"],
        ["replay", "nb000-00000000000000000000000000000000"],
        ["rebuild"],
        ["policies", "list"],
        ["policies", "show", "calibrated"],
        ["export", "decisions", "--out", "export"],
        ["customers", "export", "ann"],
        ["customers", "consents", "ann"],
        ["privacy", "trail"],
        ["privacy", "retention", "--dry-run"],
        ["triggers", "list"],
        ["triggers", "send", "--all"],
        ["deadletters", "list"],
        ["deadletters", "retry"],
    ],
)
def test_a_command_that_needs_a_database_makes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    for name in ("NEXTBEST_POSTGRES_URL", "NEXTBEST_REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NEXTBEST_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert "there is no database in" in result.stderr
    assert "nextbest up" in result.stderr
    assert list(tmp_path.iterdir()) == []

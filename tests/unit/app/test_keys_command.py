"""`nextbest keys` with roles that are none: said in words, before any server is started."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.keys import ROLES, digest


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CliRunner:
    """Runs commands with an empty data folder."""
    monkeypatch.setenv("NEXTBEST_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    return CliRunner()


@pytest.mark.parametrize("arguments", [["--role", "root"], ["--role", ""], ["--role", "Admin"], []])
def test_wrong_roles(runner: CliRunner, tmp_path: Path, arguments: list[str]) -> None:
    result = runner.invoke(app, ["keys", "create", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "--role" in result.stderr
    if arguments:
        assert all(role in result.stderr for role in ROLES)
    assert not (tmp_path / "data").exists()


def test_a_digest_is_not_the_key() -> None:
    assert len(digest("nb_admin_x")) == 32
    assert digest("a") != digest("b")
    assert b"nb_admin" not in digest("nb_admin_x")

"""`nextbest keys` when it cannot be done: said in words."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app, main
from app.embedded.servers import EmbeddedServers
from app.keys import ROLES, hash_key
from tests.support.databases import database_url


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


@pytest.mark.parametrize(
    "arguments", [["create", "--role", "ops"], ["list"], ["revoke", "x"], ["rotate", "x"]]
)
@pytest.mark.parametrize("database", ["nothing listens", "no tables"])
def test_databases_that_are_of_no_use(
    servers: EmbeddedServers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    database: str,
) -> None:
    empty = database == "no tables"
    url = database_url(servers, "postgres") if empty else "postgresql://u:secret@127.0.0.1:1/x"
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", servers.urls.redis_url)
    monkeypatch.setattr("sys.argv", ["nextbest", "keys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert ended.value.code == 1
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("nextbest: postgres did not answer: ")
    assert ("nextbest migrate" in printed.err) == empty
    assert "secret" not in printed.err


def test_a_digest_is_not_the_key() -> None:
    assert len(hash_key("nb_admin_x")) == 32
    assert hash_key("a") != hash_key("b")
    assert b"nb_admin" not in hash_key("nb_admin_x")

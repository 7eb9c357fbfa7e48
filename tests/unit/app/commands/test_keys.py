"""`nextbest keys` when it cannot be done: said in words."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app, main
from app.commands.terminal import on_database
from app.embedded.servers import EmbeddedServers
from app.keys import ROLES, KeyStore, hash_key, in_force
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
    "arguments",
    [
        *(["create", "--role", "ops"], ["list"], ["revoke", "x"], ["rotate", "x"]),
        ["publish", "--placement", "home", "--apps"],
    ],
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


def test_a_publishable_key_is_made_listed_and_revoked(
    runner: CliRunner, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)
    command = ["keys", "publish", "--placement", "home", "--origin", "https://shop.example/", "--tokens"]
    made = runner.invoke(app, command)
    assert made.exit_code == 0, made.output
    key, secret = made.stdout.split()
    assert key.startswith("nb_pub_")
    assert len(secret) >= 43
    (listed,) = runner.invoke(app, ["keys", "list"]).stdout.splitlines()
    assert listed.endswith("never used  for home, https://shop.example")
    assert key not in listed
    assert secret not in listed
    assert runner.invoke(app, ["keys", "revoke", listed.split()[0]]).exit_code == 0
    assert runner.invoke(app, ["keys", "list"]).stdout == ""


def test_a_publishable_key_and_its_secret_are_rotated(
    runner: CliRunner, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)

    def run(*arguments: str) -> tuple[int, list[str]]:
        found = runner.invoke(app, ["keys", *arguments])
        return found.exit_code, found.stdout.splitlines()

    _, made = run("publish", "--name", "shop", "--placement", "home", "--apps", "--tokens")
    ends = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d")
    code, (key,) = run("rotate", "shop", "--until", ends)
    assert code == 0
    assert key.startswith("nb_pub_")
    code, (secret,) = run("rotate", "shop", "--tokens")
    assert code == 0
    assert {key, secret}.isdisjoint(made)
    old, new = run("list")[1]
    assert f"ends {ends} 00:00:00  earlier secret ends" in old
    assert "  for home  earlier secret ends" in new
    for arguments in (
        ("--until", "2020-01-01"),
        ("--until", "9999-01-01"),
        ("--tokens", "--public-key", "x"),
        ("--public-key", "none"),
    ):
        assert run("rotate", "shop", *arguments)[0] == 2
    assert run("rotate", "nobody")[0] == run("rotate", "nobody", "--tokens")[0] == 1
    assert run("list")[1] == [old, new]
    run("create", "--role", "frontend", "--name", "shop")
    assert run("rotate", "shop") == (1, [])
    for listed in run("list")[1]:
        run("revoke", listed.split()[0])


def test_a_secret_key_is_rotated_and_the_old_one_is_taken_for_its_grace(
    runner: CliRunner, postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)

    def run(*arguments: str) -> list[str]:
        found = runner.invoke(app, ["keys", *arguments])
        assert found.exit_code == 0, found.output
        return found.stdout.splitlines()

    def taken(*keys: str) -> list[bool]:
        found = on_database(lambda engine: KeyStore(engine).load())
        return [hash_key(key) in in_force(found, datetime.now(UTC)) for key in keys]

    (old,) = run("create", "--role", "ops", "--name", "desk")
    earliest = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=7200)
    (new,) = run("rotate", "desk", "--grace", "7200")
    assert new.startswith("nb_ops_")
    assert taken(old, new) == [True, True]
    ending, staying = run("list")
    ends = datetime.strptime(ending.partition("  ends ")[2], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert earliest <= ends < earliest + timedelta(minutes=5)
    assert "  ends " not in staying
    (newest,) = run("rotate", "desk", "--grace", "0")
    assert taken(old, new, newest) == [True, False, True]
    for listed in run("list"):
        run("revoke", listed.split()[0])
    assert taken(old, new, newest) == [False, False, False]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--placement"),
        (["--placement", "home"], "--origin"),
        (["--placement", "a home", "--apps"], "--placement"),
        (["--placement", "home", "--origin", "*"], "--origin"),
        (["--placement", "home", "--apps", "--key-per-minute", "0"], "--key-per-minute"),
        (["--placement", "home", "--apps", "--public-key", "none"], "--public-key"),
        (["--placement", "home", "--apps", "--public-key", "none", "--tokens"], "--tokens"),
    ],
)
def test_what_a_publishable_key_cannot_be(
    runner: CliRunner, tmp_path: Path, arguments: list[str], named: str
) -> None:
    result = runner.invoke(app, ["keys", "publish", *arguments])
    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert not (tmp_path / "data").exists()


def test_a_digest_is_not_the_key() -> None:
    assert len(hash_key("nb_admin_x")) == 32
    assert hash_key("a") != hash_key("b")
    assert b"nb_admin" not in hash_key("nb_admin_x")

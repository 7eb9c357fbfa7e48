"""Commands with --url: which service, with which key, and what is said where there is none."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.commands.remote import Remote, remote
from tests.support.installation import free_port


def said(*words: str) -> str:
    """What a command says that fails."""
    result = CliRunner().invoke(app, [*words])
    assert result.exit_code == 1, result.output
    return result.stderr


def test_the_key_comes_from_an_option_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text("nb_of_a_file\n", encoding="utf-8")
    monkeypatch.setenv("NEXTBEST_API_KEY", "nb_of_the_environment")
    assert remote("https://example.com/", None, None) == Remote(
        "https://example.com", "nb_of_the_environment"
    )
    assert remote("https://example.com/v1", None, file) == Remote("https://example.com", "nb_of_a_file")
    assert remote("https://example.com/a", "nb", None) == Remote("https://example.com/a", "nb")
    monkeypatch.delenv("NEXTBEST_API_KEY")
    monkeypatch.setenv("NEXTBEST_API_KEY_FILE", str(file))
    assert remote("https://example.com", None, None) == Remote("https://example.com", "nb_of_a_file")
    assert remote(None, None, None) is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--url", "https://example.com"], "which key? set NEXTBEST_API_KEY"),
        (["--url", "example.com", "--key", "k"], "--url example.com: must be an address such as"),
        (["--url", "http://", "--key", "k"], "must be an address such as"),
        (["--key", "k"], "say its address with --url"),
        (["--url", "https://example.com", "--key", "k", "--key-file", "f"], "say one of them"),
        (["--url", "https://example.com", "--key-file", "/none/key"], "--key-file /none/key: No such file"),
        (["--url", "https://example.com", "--key", "k\n"], "is no API key"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(words: list[str], reason: str) -> None:
    assert reason in said("catalog", "history", *words)
    assert reason in said("import", "customers", "customers.csv", *words)


def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert f"{url} cannot be reached" in said("catalog", "export", "--url", url, "--key", "secret")
    assert "secret" not in said("catalog", "export", "--url", url, "--key", "secret")
    missing = said("import", "customers", str(tmp_path / "none.csv"), "--url", url, "--key", "k")
    assert "No such file" in missing
    assert "neither .csv nor .parquet" in said("import", "customers", "a.txt", "--url", url, "--key", "k")

"""The command line as a whole."""

from typer.testing import CliRunner

from app.cli import app


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.stdout == "nextbest 0.1.0\n"

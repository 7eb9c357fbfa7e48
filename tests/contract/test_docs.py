"""The README is tried out: its calls are run as they stand, one after the other, against a running service."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support.documented_calls import STAND_IN, parse_documents, run_script

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^<!-- test:api -->\s*\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CALLS = 5


def blocks() -> list[str]:
    """The marked blocks of the README, in their order."""
    found = BLOCK.findall(README.read_text(encoding="utf-8"))
    assert {language for language, _ in found} == {"bash"}, "each <!-- test:api --> goes before a bash block"
    return [script for _, script in found]


def test_the_readme_has_the_api_in_five_calls() -> None:
    scripts = blocks()
    assert len(scripts) >= CALLS
    assert all("curl" in script and "$URL" in script and "$KEY" in script for script in scripts)


@pytest.mark.parametrize("curl", ["curl", "stand-in"] if shutil.which("curl") else ["stand-in"])
def test_the_calls_of_the_readme_work(environment: dict[str, str], curl: str, tmp_path: Path) -> None:
    if curl == "stand-in":
        stand_in = tmp_path / "curl"
        stand_in.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        stand_in.chmod(0o755)
        environment = environment | {"PATH": f"{tmp_path}:{environment['PATH']}"}
    for script in blocks():
        answers = run_script(script, environment)
        assert answers, script
        for answer in answers:
            assert not (isinstance(answer, dict) and isinstance(answer.get("status"), int)), (script, answer)
    (record,) = run_script('curl -sS $URL/v1/decisions/visit-1 -H "X-API-Key: $KEY"', environment)
    assert [offer["rank"] for offer in record["offers"]] == [1]
    assert [outcome["outcome"] for outcome in record["outcomes"]] == ["accepted"]


def test_the_json_of_the_readme_is_json() -> None:
    text = README.read_text(encoding="utf-8")
    found = re.findall(r"^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert found
    for block in found:
        json.loads(block)


def test_documents_are_told_apart() -> None:
    assert parse_documents('{"a": 1}[2]\n\n{"b": "}{"}  \n') == [{"a": 1}, [2], {"b": "}{"}]
    with pytest.raises(json.JSONDecodeError):
        parse_documents('{"a": 1} curl: (7) failed')

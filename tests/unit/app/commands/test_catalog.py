"""`nextbest catalog`, on a real database: as people use it from a checkout of their catalogue."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app

DOCUMENT = """nextbest: 1
groups:
  cards:
    name: Cards
    goal: grow
offers:
  gold:
    name: Gold
    group: cards
    value: 40.0
    treatments:
      banner:
        channel: web
        language: en
        title: Gold
        message: It glitters.
"""


@pytest.fixture(autouse=True)
def environment(postgres_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This module's servers, as the command finds them."""
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", postgres_url)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", redis_url)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with a small catalogue."""
    path = tmp_path / "catalogue.yaml"
    path.write_text(DOCUMENT, encoding="utf-8")
    return path


def nextbest(*words: object, status: int = 0, said: str | None = None) -> Result:
    result = CliRunner().invoke(app, ["catalog", *map(str, words)], input=said)
    assert result.exit_code == status, result.output
    return result


def exported() -> str:
    return nextbest("export").stdout


def version() -> int:
    """The newest version, from the history."""
    lines = nextbest("history", "--limit", 1).stdout.splitlines()
    return int(lines[0].split()[0]) if lines else 0


def test_from_a_file_and_back(file: Path, tmp_path: Path) -> None:
    assert "+ offers.gold" in nextbest("diff", file, status=1).stdout
    nextbest("apply", file, "--yes", "--reason", "first")
    assert exported() == DOCUMENT
    assert nextbest("diff", file).stdout == "no changes\n"
    copy = tmp_path / "copy.yaml"
    assert "version" in nextbest("export", copy).stdout
    assert copy.read_text(encoding="utf-8") == DOCUMENT
    before = version()
    assert nextbest("apply", file, "--yes").stdout == "no changes\n"
    assert version() == before


def test_a_change_is_shown_asked_about_and_traced(file: Path) -> None:
    nextbest("apply", file, "--yes")
    before = version()
    file.write_text(DOCUMENT.replace("40.0", "45.0"), encoding="utf-8")
    shown = "~ offers.gold.value: 40.0 -> 45.0\n1 changed: offers.gold\n    offers.gold: value\n"
    assert nextbest("diff", file, status=1).stdout == shown
    assert nextbest("apply", file, "--dry-run").stdout == shown
    refused = nextbest("apply", file, status=1)
    assert "nobody to ask" in refused.stderr
    assert version() == before
    assert nextbest("apply", "-", "--yes", "--reason", "dearer", said=file.read_text()).stdout == (
        f"{shown}the catalogue is at version {before + 1}\n"
    )
    first, second = nextbest("history", "--limit", 1).stdout.splitlines()
    assert first.startswith(f"{before + 1}  ")
    assert first.endswith("(command line): dearer")
    assert second.strip() == "~ offers.gold.value: 40.0 -> 45.0"
    back = nextbest("rollback", before, "--reason", "too dear").stdout
    assert "~ offers.gold.value: 45.0 -> 40.0" in back
    assert f"as it was at version {before}" in back
    assert exported() == DOCUMENT


def test_what_the_file_does_not_have_is_deleted_only_when_that_is_said(file: Path) -> None:
    nextbest("apply", file, "--yes")
    before = version()
    other = "nextbest: 1\ngroups:\n  loans: {name: Loans, goal: grow}\n"
    file.write_text(other, encoding="utf-8")
    kept = "3 kept, not in the file (--delete deletes): groups.cards, offers.gold, offers.gold.treatments.banner\n"
    for command in ("diff", "apply"):
        words = [] if command == "diff" else ["--dry-run"]
        shown = nextbest(command, file, *words, status=int(command == "diff")).stdout
        assert shown.endswith(f"1 added: groups.loans\n{kept}")
    assert kept in nextbest("apply", file, "--yes").stdout
    assert version() == before + 1
    assert "loans:" in exported()
    assert "gold:" in exported()
    assert nextbest("apply", file, "--yes").stdout == f"no changes\n{kept}"
    deleted = "3 deleted: groups.cards, offers.gold, offers.gold.treatments.banner\n"
    assert deleted in nextbest("diff", file, "--delete", status=1).stdout
    assert version() == before + 1
    assert deleted in nextbest("apply", file, "--yes", "--delete").stdout
    assert exported() == "nextbest: 1\ngroups:\n  loans:\n    name: Loans\n    goal: grow\n"
    nextbest("rollback", before, "--reason", "all of it back")
    assert exported() == DOCUMENT


def test_what_a_file_takes_away_from_an_offer_is_marked(file: Path) -> None:
    rule = "    rules:\n    - name: of record\n      tier: eligibility\n      when: customer.known\n"
    ruled = DOCUMENT.replace("    treatments:", f"    requires_consent: marketing\n{rule}    treatments:")
    file.write_text(ruled, encoding="utf-8")
    nextbest("apply", file, "--yes")
    file.write_text(DOCUMENT, encoding="utf-8")
    shown = nextbest("apply", file, "--dry-run").stdout
    assert "    offers.gold: requires_consent, rules\n" in shown
    assert "    ! offers.gold loses requires_consent: 'marketing'\n" in shown
    assert "    ! offers.gold loses rules: 'of record'\n" in shown


def test_somebody_at_the_terminal_is_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nextbest("apply", file, "--yes")
    before = version()
    file.write_text(DOCUMENT.replace("Gold\n", "Aurum\n"), encoding="utf-8")
    monkeypatch.setattr("app.commands.catalog.can_ask", lambda: True)
    nextbest("apply", file, said="n\n", status=1)
    assert version() == before
    nextbest("apply", file, said="y\n")
    assert version() > before
    assert "Aurum" in exported()


def test_what_was_probably_not_meant_is_printed_beside_the_differences_and_refuses_nothing(
    file: Path,
) -> None:
    odd = DOCUMENT.replace("goal: grow", "goal: grow\n    lever: 0.2")
    file.write_text(odd, encoding="utf-8")
    for command in (["apply", file, "--dry-run"], ["apply", file, "--yes"], ["diff", file]):
        found = nextbest(*command)
        assert "warning: groups.cards.lever: is 0.2 %" in found.stderr
        assert "warning" not in found.stdout
    assert "lever: 0.2" in exported()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "goal: grow",
            "gaol: grow",
            "catalogue.yaml:5: groups.cards: gaol: there is no 'gaol'; did you mean 'goal'?",
        ),
        ("group: cards", "group: crads", "catalogue.yaml:9: offers.gold: group: there is no group 'crads'"),
        (
            "value: 40.0",
            "value: -1",
            "catalogue.yaml:10: offers.gold: value: Input should be greater than",
        ),
        ("gold:", "go/ld:", "catalogue.yaml:7: offers.go/ld: must be letters"),
        ("nextbest: 1", "nextbest: 9", "catalogue.yaml:1: nextbest: "),
        ("message: It", "rules: It", "there is no 'rules'"),
    ],
)
def test_files_that_are_wrong(file: Path, old: str, new: str, words: str) -> None:
    nextbest("apply", file, "--yes")
    before = version()
    file.write_text(DOCUMENT.replace(old, new, 1), encoding="utf-8")
    for command in (["diff", file], ["apply", file, "--dry-run"], ["apply", file, "--yes"]):
        assert words in nextbest(*command, status=1).stderr
    assert version() == before


def test_all_mistakes_of_a_file_are_said_at_once_each_with_its_line(file: Path) -> None:
    nextbest("apply", file, "--yes")
    before = version()
    wrong = DOCUMENT.replace("goal: grow", "gaol: grow").replace("40.0", "-1").replace("channel", "chanel")
    more = (
        "  silver:\n    name: Silver\n    group: cards\n    not_with: [gold, brass, tin]\n    rules:\n"
        "    - {name: of age., tier: eligibility, when: customer.knwon}\n    - {name: b, tier: x, when: 'true'}\n"
        "  steel:\n    name: Steel\n    group: crads\n    not_with: [gold, silver, brass]\n    rules:\n"
        "    - {name: a, tier: suitability, when: 'true'}\n"
        "    - {name: of age., tier: eligibility, when: customer.knwon}\n"
    )
    file.write_text(wrong + more, encoding="utf-8")
    for command in (["diff", file], ["apply", file, "--dry-run"], ["apply", file, "--yes"]):
        said = nextbest(*command, status=1).stderr.splitlines()
        assert said[0] == f"nextbest: {file} has 7 mistakes; nothing was changed"
        found = [line.removeprefix(f"{file}:").split(": ")[:3] for line in said[1:]]
        assert found == [
            ["5", "groups.cards", "gaol"],
            ["10", "offers.gold", "value"],
            ["13", "offers.gold.treatments.banner", "chanel"],
            ["23", "offers.silver", "rules.1.tier"],
            ["26", "offers.steel", "group"],
            ["27", "offers.steel", "not_with"],
            ["30", "offers.steel", "rules.of age."],
            # Silver was not read, so that others name it is no mistake.
        ]
    assert version() == before


def test_files_that_are_none(tmp_path: Path) -> None:
    assert "No such file" in nextbest("diff", tmp_path / "none.yaml", status=1).stderr
    (tmp_path / "latin.yaml").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in nextbest("diff", tmp_path / "latin.yaml", status=1).stderr
    assert "s a directory" in nextbest("export", tmp_path, status=1).stderr


def test_a_version_that_never_was() -> None:
    assert "there are versions 0 to" in nextbest("rollback", 10**6, "--reason", "x", status=1).stderr
    nextbest("rollback", 1, status=2)

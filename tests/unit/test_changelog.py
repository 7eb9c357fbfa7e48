"""The changelog and the version of the package say the same."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def test_newest_version_in_the_changelog_is_the_package_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = VERSION.findall((ROOT / "CHANGELOG.md").read_text())
    assert versions[0][0] == project["version"]


def test_versions_are_listed_newest_first_and_only_the_newest_is_unreleased() -> None:
    versions = VERSION.findall((ROOT / "CHANGELOG.md").read_text())
    numbers = [tuple(map(int, number.split("."))) for number, _ in versions]
    assert numbers == sorted(set(numbers), reverse=True)
    assert all(date != "unreleased" for _, date in versions[1:])


def test_every_second_level_heading_is_a_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert len(re.findall(r"^## ", text, re.MULTILINE)) == len(VERSION.findall(text))

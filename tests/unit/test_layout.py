"""The layout of the tests: what they share stands in tests/support, and nobody imports a test module."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
# Texts count too: programs that tests start, and classes that they name, are found by their dotted paths.
DOTTED = re.compile(r"\btests(?:\.\w+)+")
STEP = re.compile(r'"([a-z_]+(?:\.\w+)+):([A-Z]\w*\.\w+)"')
"""A method at which tests interrupt a process: ``"module:Class.method"``."""


def stray_paths(source: str) -> Iterator[str]:
    """The modules of tests outside tests/support that a module imports, or names in a text."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names = DOTTED.findall(node.value)
        else:
            continue
        yield from (name for name in names if re.match(r"tests\.(?!support\b)|\.|conftest\b|test_", name))


def test_helpers_stand_in_tests_support() -> None:
    modules = [path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py")]
    stray = [path for path in modules if not re.search(r"^support/|(^|/)(test_\w+|conftest)\.py$", path)]
    assert stray == []
    assert not [path for path in modules if re.search(r"^support/.*(test_\w+|conftest)\.py$", path)]


def test_no_test_module_and_no_conftest_is_imported() -> None:
    found = {
        path.relative_to(TESTS).as_posix(): stray
        for path in TESTS.rglob("*.py")
        if path != Path(__file__).resolve() and (stray := list(stray_paths(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_the_steps_that_tests_name_exist() -> None:
    steps = {step for path in TESTS.rglob("*.py") for step in STEP.findall(path.read_text(encoding="utf-8"))}
    assert len(steps) > 5
    for module, method in steps:
        assert callable(attrgetter(method)(import_module(module)))


@pytest.mark.parametrize(
    "source",
    [
        "from tests.unit.test_capacity import CAP",
        "from tests import conftest",
        "import tests.contract.conftest",
        "def f():\n    from .test_capacity import CAP",
        "from conftest import servers",
        'command = "from tests.unit.bandits.test_features import *"',
    ],
)
def test_imports_of_test_modules_are_found(source: str) -> None:
    assert list(stray_paths(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "from tests.support import gate",
        "from tests.support.gate import Gate",
        "import tests.support.gate",
        "x = 'tests'",
    ],
)
def test_imports_of_helpers_pass(source: str) -> None:
    assert list(stray_paths(source)) == []

"""The lock files are complete, agree with each other, and name no machine and no registry."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-prod.txt", "requirements-bench.txt")
PRODUCED = re.compile(r"\.git|\.venv|var|build|dist|\.hypothesis|\.schemathesis|.*_cache|.*\.egg-info")


def pins(lock: str) -> dict[str, str]:
    """The version of each package in a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


def normalised(requirement: str) -> str:
    """The package that a requirement names, as lock files spell it."""
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def our_files() -> list[Path]:
    """The project's files, without what is installed or produced."""
    top = [entry for entry in ROOT.iterdir() if not PRODUCED.fullmatch(entry.name)]
    files = [path for entry in top for path in ([entry] if entry.is_file() else entry.rglob("*"))]
    return [
        path for path in files if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    ]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_has_nothing_but_pins_and_hashes(lock: str) -> None:
    pin = re.compile(r"[a-z0-9-]+==[^ ;]+( ; [^\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    lines = (ROOT / lock).read_text().splitlines()
    assert [line for line in lines if not pin.fullmatch(line) and not digest.fullmatch(line)] == []
    assert all(
        digest.fullmatch(lines[number + 1]) for number, line in enumerate(lines) if pin.fullmatch(line)
    )


def test_locks_hold_all_that_the_package_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = {normalised(requirement) for requirement in project["dependencies"]}
    extras = {
        name: {normalised(requirement) for requirement in group}
        for name, group in project["optional-dependencies"].items()
    }
    peers = extras.pop("bench")
    assert runtime <= pins("requirements-prod.txt").keys()
    assert runtime.union(*extras.values()) <= pins("requirements.txt").keys()
    assert runtime | peers <= pins("requirements-bench.txt").keys()


def test_production_gets_the_versions_that_are_tested() -> None:
    assert pins("requirements-prod.txt").items() <= pins("requirements.txt").items()


def test_policies_are_compared_with_the_versions_that_are_tested() -> None:
    tested, compared = pins("requirements.txt"), pins("requirements-bench.txt")
    assert {name: compared[name] for name in tested.keys() & compared} == {
        name: tested[name] for name in tested.keys() & compared
    }


def test_no_file_holds_a_path_of_this_machine() -> None:
    needles = [str(path).encode() for path in (ROOT, Path.home()) if len(path.parts) > 2]
    found = [path for path in our_files() if any(needle in path.read_bytes() for needle in needles)]
    assert found == []


@pytest.mark.parametrize("module", ["app.main", "app.worker.run"])
def test_processes_start_without_libraries_that_they_need_later_if_at_all(module: str) -> None:
    """Together these take as long to import as all else."""
    code = f"import sys, {module}; print(*{{'scipy', 'pandas', 'river', 'narwhals', 'duckdb'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_traces_need_is_not_imported_while_they_are_off() -> None:
    code = """
import sys, app.main, app.worker.run
from app.config import Settings
app.main.create_app(Settings(traces="off"))
names = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "requests", "app.tracing.spans")
print(*(name for name in names if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

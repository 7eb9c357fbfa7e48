"""The borders of the design: who may import whom, and what is pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INNER = ("decisioning", "bandits", "profiles", "rules")
PACKAGES = ("app", *INNER, "migrations")
MAY_IMPORT = {
    "app": set(PACKAGES),
    "decisioning": {"decisioning", "bandits", "profiles", "rules"},
    "bandits": {"bandits"},
    "profiles": {"profiles"},
    "rules": {"rules"},
    "migrations": {"migrations"},
}
ONLY_APP = {
    "fastapi",
    "starlette",
    "uvicorn",
    "pydantic_settings",
    "typer",
    "rich",
    "httpx",
    "prometheus_client",
}
DRIVERS = {"redis", "hiredis", "sqlalchemy", "asyncpg", "alembic"}
UNPREDICTABLE = {"time", "random", "secrets"}
CLOCKS = {"now", "utcnow", "today"}
RANDOM_NAMES = {"uuid1", "uuid4", "urandom", "getrandom"}
SEEDED = {"default_rng", "Generator", "PCG64", "PCG64DXSM", "Philox", "SeedSequence", "SFC64", "BitGenerator"}


def violations(path: str, source: str) -> list[str]:
    """What the module at `path` (relative to the project) does that the design forbids."""
    tree = ast.parse(source)
    parts = path.split("/")
    package, is_store = parts[0], "stores" in parts[:-1] or parts[-1].startswith("store")
    is_service = package == "decisioning" and any(part.startswith("service") for part in parts[1:])
    imported = set(_imports(tree))
    found = [
        f"{package} imports {name}" for name in imported & set(PACKAGES) if name not in MAY_IMPORT[package]
    ]
    if package in INNER:
        found += [f"imports {name}" for name in imported & ONLY_APP]
        if not is_store:
            found += [f"imports the driver {name}" for name in imported & DRIVERS]
        if not is_store and not is_service:
            found += [f"imports {name}" for name in imported & UNPREDICTABLE]
            found += list(_impurities(tree))
    return [f"{path}: {what}" for what in found]


def _imports(tree: ast.AST) -> Iterator[str]:
    """The top-level names of all that is imported, wherever in the module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def _impurities(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            yield f"line {node.lineno}: waits"
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"line {node.lineno}: {name.name}" for name in node.names if name.name in RANDOM_NAMES
            )
        elif isinstance(node, ast.Attribute) and node.attr in RANDOM_NAMES:
            yield f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.Call):
            yield from _impure_call(node)


def _impure_call(node: ast.Call) -> Iterator[str]:
    target = ast.unparse(node.func)
    owner, _, name = target.rpartition(".")
    if name in CLOCKS and owner.split(".")[-1] in {"datetime", "date", "dt", "Timestamp", "pd"}:
        yield f"line {node.lineno}: reads the clock with {target}"
    if owner in {"np.random", "numpy.random"} and name not in SEEDED:
        yield f"line {node.lineno}: global randomness of {target}"
    if name == "default_rng" and not (node.args or node.keywords):
        yield f"line {node.lineno}: default_rng without a seed"


def modules() -> list[Path]:
    """All modules of the project's packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_all_packages_are_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in modules()} == set(PACKAGES)


def test_the_project_keeps_its_borders() -> None:
    found = [
        violation
        for path in modules()
        for violation in violations(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bandits/x.py", "import decisioning.engine"),
        ("bandits/x.py", "from profiles import customer"),
        ("profiles/x.py", "def f():\n    import rules"),
        ("rules/x.py", "from app.config import Settings"),
        ("decisioning/x.py", "import fastapi"),
        ("decisioning/service/x.py", "import redis.asyncio"),
        ("decisioning/stores/x.py", "from starlette import status"),
        ("profiles/x.py", "from sqlalchemy import text"),
        ("bandits/x.py", "async def f(): ..."),
        ("bandits/x.py", "import random"),
        ("bandits/x.py", "from time import time"),
        ("decisioning/engine.py", "from datetime import datetime\nx = datetime.now()"),
        ("decisioning/engine.py", "import datetime as d\nx = d.datetime.now(d.UTC)"),
        ("decisioning/engine.py", "from uuid import uuid4"),
        ("decisioning/engine.py", "import uuid\nx = uuid.uuid4()"),
        ("decisioning/engine.py", "import os\nx = os.urandom(8)"),
        ("bandits/x.py", "import numpy as np\nx = np.random.beta(1, 1)"),
        ("bandits/x.py", "import numpy as np\nx = np.random.default_rng()"),
    ],
)
def test_what_crosses_a_border_is_found(path: str, source: str) -> None:
    assert violations(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("app/x.py", "import fastapi, redis, decisioning, bandits, time\nasync def f(): ..."),
        ("decisioning/x.py", "from bandits import random, policy\nfrom rules import segments"),
        ("decisioning/stores/log.py", "import redis.asyncio\nasync def f(): ..."),
        ("profiles/store_customers.py", "from sqlalchemy import text\nasync def f(): ..."),
        ("decisioning/service/decide.py", "import time\nasync def f(): ..."),
        ("bandits/x.py", "import numpy as np\nx = np.random.default_rng(7)"),
        ("bandits/x.py", "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)"),
    ],
)
def test_what_keeps_within_borders_passes(path: str, source: str) -> None:
    assert violations(path, source) == []

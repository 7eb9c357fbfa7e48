"""The borders of the design: who may import whom, and what is pure."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INNER = ("decisioning", "bandits", "profiles", "rules", "storage")
PACKAGES = ("app", "demo", *INNER, "migrations", "nextbest_client")
MAY_IMPORT = {
    "app": {"app", *INNER, "migrations"},
    "demo": {"demo", "app", *INNER, "migrations", "nextbest_client"},
    "decisioning": set(INNER),
    "bandits": {"bandits", "storage"},
    "profiles": {"profiles", "storage"},
    "rules": {"rules", "storage"},
    "storage": {"storage"},
    "migrations": {"migrations"},
    "nextbest_client": {"nextbest_client"},
}
ROOMS = {
    "decisioning": (
        "model",
        "policies",
        "contact",
        "treatments",
        "aggregates",
        "holdouts",
        "catalog",
        "changesets",
        "log",
        "events",
        "merging",
        "capacity",
        "learning",
        "rollout",
        "decide",
        "recovery",
        "evaluation",
        "exporting",
        "reporting",
        "privacy",
        "triggers",
    ),
    "bandits": ("regression", "algorithms", "onnx", "river", "ope", "monitoring", "conformance"),
}
"""The rooms of a package, in order: each imports only itself, rooms before it, and modules outside of rooms."""
GATHERS = {"bandits/registry.py", "bandits/specification.py"}
"""Modules outside of rooms that import from rooms: what makes policies of their names."""
RUNS_THE_DEMO = "app/cli.py"
"""The one module of ``app`` that imports the demo, which stands on the product like any other user."""
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
THE_CLOCK = "storage.clock.now_ms"
"""Of ``storage.clock``, pure modules may import the conversions, not this."""
CLOCKS = {"now", "utcnow", "today"}
RANDOM_NAMES = {"uuid1", "uuid4", "urandom", "getrandom"}
SEEDED = {"default_rng", "Generator", "PCG64", "PCG64DXSM", "Philox", "SeedSequence", "SFC64", "BitGenerator"}


def violations(path: str, source: str) -> list[str]:
    """List the violations of the design by the module at `path` (relative to the project)."""
    tree = ast.parse(source)
    package, name = path.split("/")[0], path.rpartition("/")[2]
    is_store = package == "storage" or name.startswith("store")
    is_service = package == "decisioning" and "service" in name
    modules = set(_imports(tree))
    imported = {module.split(".")[0] for module in modules}
    found = [
        f"{package} imports {other}"
        for other in imported & set(PACKAGES)
        if other not in MAY_IMPORT[package] and (path, other) != (RUNS_THE_DEMO, "demo")
    ]
    found += _out_of_order(path, modules)
    found += [
        f"line {node.lineno}: TYPE_CHECKING"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id == "TYPE_CHECKING"
    ]
    if package in INNER:
        found += [f"imports {other}" for other in imported & ONLY_APP]
        if not is_store:
            found += [f"imports the driver {other}" for other in imported & DRIVERS]
        if not is_store and not is_service:
            found += [f"imports {other}" for other in (imported & UNPREDICTABLE) | (modules & {THE_CLOCK})]
            found += list(_impurities(tree))
    return [f"{path}: {what}" for what in found]


def _imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names of all that is imported, wherever in the module: modules, and what is taken from them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _out_of_order(path: str, modules: set[str]) -> Iterator[str]:
    """The imports from rooms that come later than the module's own."""
    package, *inner = path.split("/")
    rooms = ROOMS.get(package, ())
    own = rooms.index(inner[0]) if inner[0] in rooms else -1
    if path in GATHERS:
        return
    for module in sorted(modules):
        first, _, rest = module.partition(".")
        room = rest.split(".")[0]
        if first == package and room in rooms and rooms.index(room) > own:
            yield f"{inner[0] if own >= 0 else path} imports the later room {room}"


def _impurities(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
            if not _only_declares(node):
                yield f"line {node.lineno}: waits"
        elif isinstance(node, ast.ImportFrom):
            yield from (
                f"line {node.lineno}: {name.name}" for name in node.names if name.name in RANDOM_NAMES
            )
        elif isinstance(node, ast.Attribute) and node.attr in RANDOM_NAMES:
            yield f"line {node.lineno}: {node.attr}"
        elif isinstance(node, ast.Call):
            yield from _impure_call(node)


def _only_declares(node: ast.AST) -> bool:
    """True if this is a method of a protocol: a signature, maybe a docstring, and no code."""
    return isinstance(node, ast.AsyncFunctionDef) and all(
        isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) for part in node.body
    )


def _impure_call(node: ast.Call) -> Iterator[str]:
    target = ast.unparse(node.func)
    owner, _, name = target.rpartition(".")
    if target == "now_ms" or target.endswith("clock.now_ms"):
        yield f"line {node.lineno}: reads the clock with {target}"
    if name in CLOCKS and owner.split(".")[-1] in {"datetime", "date", "dt", "Timestamp", "pd"}:
        yield f"line {node.lineno}: reads the clock with {target}"
    if owner in {"np.random", "numpy.random"} and name not in SEEDED:
        yield f"line {node.lineno}: global randomness of {target}"
    if name == "default_rng" and not (node.args or node.keywords):
        yield f"line {node.lineno}: default_rng without a seed"


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other in a circle (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in sorted(imports[module]):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in imports[module]:
                found.append(sorted(group))

    for module in sorted(imports):
        if module not in index:
            visit(module)
    return found


def modules() -> list[Path]:
    """All modules of the project's packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_all_packages_are_looked_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in modules()} == set(PACKAGES)


def test_all_rooms_are_in_order() -> None:
    for package, rooms in ROOMS.items():
        folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert folders == set(rooms)


def test_the_project_keeps_its_borders() -> None:
    found = [
        violation
        for path in modules()
        for violation in violations(path.relative_to(ROOT).as_posix(), path.read_text())
    ]
    assert found == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules()
    }
    imports = {
        name: set(_imports(ast.parse(path.read_text()))) & names.keys() for name, path in names.items()
    }
    assert circles(imports) == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"b"}, "b": set(), "c": {"c"}}) == [["c"]]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("bandits/x.py", "import decisioning.decide.ranking"),
        ("bandits/x.py", "from profiles import customer"),
        ("bandits/x.py", "from bandits.algorithms import ucb"),
        ("bandits/regression/x.py", "from bandits.algorithms.ucb import UcbPolicy"),
        ("profiles/x.py", "def f():\n    import rules"),
        ("rules/x.py", "from app.config import Settings"),
        ("storage/x.py", "from decisioning.errors import Invalid"),
        ("app/x.py", "import demo.run"),
        ("decisioning/x.py", "import fastapi"),
        ("decisioning/decide/service.py", "import redis.asyncio"),
        ("decisioning/log/store_redis.py", "from starlette import status"),
        ("decisioning/log/x.py", "from decisioning.decide.service import DecisionService"),
        ("decisioning/log/x.py", "from decisioning import decide"),
        ("decisioning/log/x.py", "def f():\n    import decisioning.learning.fold"),
        ("decisioning/model/x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy"),
        ("decisioning/errors.py", "from decisioning.model.stop import Stop"),
        ("profiles/x.py", "from sqlalchemy import text"),
        ("decisioning/stored/x.py", "from sqlalchemy import text"),
        ("bandits/x.py", "async def f(): return 1"),
        ("bandits/x.py", "import random"),
        ("bandits/x.py", "from time import time"),
        ("decisioning/decide/ranking.py", "from datetime import datetime\nx = datetime.now()"),
        ("decisioning/decide/ranking.py", "import datetime as d\nx = d.datetime.now(d.UTC)"),
        ("decisioning/decide/ranking.py", "from uuid import uuid4"),
        ("decisioning/decide/ranking.py", "import uuid\nx = uuid.uuid4()"),
        ("decisioning/decide/ranking.py", "import os\nx = os.urandom(8)"),
        ("decisioning/decide/ranking.py", "from storage.clock import now_ms, to_iso"),
        ("profiles/x.py", "from storage import clock\nx = clock.now_ms()"),
        ("profiles/x.py", "import storage.clock\nx = storage.clock.now_ms()"),
        ("bandits/x.py", "import numpy as np\nx = np.random.beta(1, 1)"),
        ("bandits/x.py", "import numpy as np\nx = np.random.default_rng()"),
    ],
)
def test_what_crosses_a_border_is_found(path: str, source: str) -> None:
    assert violations(path, source) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("app/x.py", "import fastapi, redis, decisioning, bandits, storage, time\nasync def f(): ..."),
        ("demo/x.py", "import app.config, time\nasync def f(): ..."),
        ("decisioning/decide/x.py", "from bandits.algorithms import random\nfrom rules import segments"),
        (
            "decisioning/decide/x.py",
            "from decisioning.decide import ranking\nfrom decisioning.log import records",
        ),
        ("decisioning/log/store_redis.py", "import redis.asyncio\nasync def f(): ..."),
        ("storage/redis_pipe.py", "import hiredis\nasync def f(): ..."),
        ("profiles/store_customers.py", "from sqlalchemy import text\nasync def f(): ..."),
        ("decisioning/decide/service.py", "import time\nasync def f(): ..."),
        ("decisioning/log/ports.py", "class Log:\n    async def read(self) -> int: ..."),
        (
            "decisioning/decide/ranking.py",
            "from storage.clock import to_iso\ndef f(now_ms): return to_iso(now_ms)",
        ),
        ("decisioning/decide/service.py", "from storage import clock\nx = clock.now_ms()"),
        ("app/cli.py", "def f():\n    from demo.run import demo"),
        ("bandits/registry.py", "from bandits.algorithms.ucb import UcbPolicy"),
        ("bandits/x.py", "import numpy as np\nx = np.random.default_rng(7)"),
        ("bandits/x.py", "from datetime import UTC, datetime\nx = datetime.fromtimestamp(0, UTC)"),
    ],
)
def test_what_keeps_within_borders_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_the_architecture_names_the_rooms_in_the_order_that_holds() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    drawn = text[text.index("model > ") : text.index("+", text.index("model > "))]
    assert drawn.replace("|", " ").replace(">", " ").split() == list(ROOMS["decisioning"])
    assert [room for room in ROOMS["decisioning"] if f"| `decisioning/{room}/` |" not in text] == []

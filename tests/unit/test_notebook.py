"""The notebook of docs/export.md: its cells are run, in their order, on an export made here."""

import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from decisioning.exporting.export_service import Batch, ExportRequest, export
from decisioning.exporting.schema import COLUMNS
from storage.clock import to_ms

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "notebooks" / "export.ipynb"
OFFERS = ["gold", "silver", "phone"]
DAYS = [date(2026, 1, 30), date(2026, 1, 31)]
DECISIONS = 400


class Shop:
    """Decisions of a day in which what is expected is right, one in five of them of the control group."""

    settles = True

    async def days(self, since: date | None, until: date | None) -> list[date]:
        return DAYS

    async def still_open(self, day: date) -> int:
        return 0

    async def batches(self, day: date, after: list[str] | None) -> AsyncIterator[Batch]:
        yield Batch([decided(day, n) for n in range(DECISIONS)], ["all"])


def decided(day: date, number: int) -> dict[str, Any]:
    """One row of decisions; the last of a day is still open."""
    rng = np.random.default_rng([day.day, number])
    expected, is_open = rng.uniform(0.05, 0.95), number == DECISIONS - 1
    at = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=number)
    row: dict[str, Any] = dict.fromkeys(name for name, *_ in COLUMNS["decisions"])
    return row | {
        "decision_id": f"{day}-{number}",
        "decided_at": to_ms(at),
        "placement": "home",
        "policy": "calibrated@1",
        "group": "control" if number % 5 == 0 else "champion",
        "source": "live",
        "rank": 1,
        "offer_id": OFFERS[rng.integers(3)],
        "probability": float(rng.uniform(0.1, 0.9)),
        "expected": expected,
        "candidates": OFFERS,
        "facts": json.dumps({"customer.age": int(rng.integers(18, 90))}),
        "reward": None if is_open else float(rng.random() < expected),
        "closed": not is_open,
    }


class Plots(ModuleType):
    """A stand-in for ``matplotlib.pyplot``, which need not be installed: it keeps what is drawn."""

    def __init__(self) -> None:
        super().__init__("matplotlib.pyplot")
        self.axes: list[Mock] = []

    def subplots(self) -> tuple[Mock, Mock]:
        """Begin a figure."""
        self.axes.append(Mock(spec=["plot", "bar", "set"]))
        return Mock(), self.axes[-1]


def cells() -> list[str]:
    """The code of the notebook, a text for each cell."""
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    assert all(cell.get("outputs", []) == [] for cell in found), "it is kept without outputs"
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]


async def test_the_notebook_reads_an_export_and_repeats_an_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pandas")
    await export(ExportRequest("decisions"), Shop(), tmp_path, to_ms(datetime(2026, 3, 1, tzinfo=UTC)))
    monkeypatch.setenv("NEXTBEST_EXPORT", str(tmp_path / "decisions"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    plots = Plots()
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", plots)
    names: dict[str, Any] = {}
    for number, cell in enumerate(cells()):
        exec(compile(cell, f"{NOTEBOOK.name}, cell {number}", "exec"), names)
    assert f"{2 * DECISIONS} offers" in capsys.readouterr().out
    calibration, lift = plots.axes
    assert [call[0] for call in calibration.mock_calls] == ["plot", "plot", "set"]
    (expected, accepted), _ = calibration.plot.call_args_list[0]
    assert len(expected) == len(accepted) == 10
    assert [call[0] for call in lift.mock_calls] == ["bar", "set"]
    (tenths, heights), _ = lift.bar.call_args
    assert list(tenths) == list(range(1, 11))
    assert list(heights) == list(names["calibration"]["lift"])
    assert [one.set.call_args.kwargs["title"] for one in plots.axes] == ["Calibration", "Lift"]
    assert names["error"] < 0.08  # what was expected was right
    assert names["calibration"]["lift"].iloc[-1] > 1.3
    assert {"control", "champion"} == set(names["groups"].index)
    for name, value in names["by_hand"].items():
        assert names["estimates"][name]["value"] == pytest.approx(value, abs=1e-6)

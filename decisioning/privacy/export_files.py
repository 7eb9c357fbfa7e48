"""Files of exports: whether a customer is in them, and their removal."""

import json
import logging
import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

log = logging.getLogger(__name__)

_NAMES_CUSTOMERS = ("decisions", "features", "customers")
PERSONAL = (*_NAMES_CUSTOMERS, "outcomes")
"""Kinds of exports that have rows of persons."""


def is_in_files(
    folder: Path, kind: str, customer_ids: Collection[str], decision_ids: Collection[str]
) -> bool:
    """Return whether a finished export of a kind, in ``folder/<kind>``, has rows of any of these customers.

    ``decision_ids``: the customers' decisions. True for what cannot be read or listed or was cut off, and for a folder
    that is not there (it may be on another host): nobody can tell what is in them.
    """
    if kind not in PERSONAL:
        return False
    try:
        names = _part_names(folder / kind)
        return (
            any(path.name.endswith(".tmp") for path in names)
            or _in_parquet(names, kind, customer_ids, decision_ids)
            or _in_dsjson(names, decision_ids)
        )
    except (OSError, ValueError, pa.ArrowException):
        return True


def _part_names(folder: Path) -> list[Path]:
    """List the files of all days. Raises ``OSError`` for what may not be listed, where ``Path.glob`` finds nothing."""
    with os.scandir(folder) as found:
        days = sorted(entry.path for entry in found if entry.name.startswith("day="))
    names = []
    for day in days:
        with os.scandir(day) as found:
            names += [Path(entry.path) for entry in found if entry.name.startswith(("part-", ".part-"))]
    return sorted(names)


def _in_parquet(
    names: Collection[Path], kind: str, customer_ids: Collection[str], decision_ids: Collection[str]
) -> bool:
    column, wanted = "customer_id", pa.array(sorted(customer_ids), pa.string())
    if kind not in _NAMES_CUSTOMERS:
        column, wanted = "decision_id", pa.array(sorted(decision_ids), pa.string())
    for path in names:
        if path.suffix != ".parquet":
            continue
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[column]):
                if pc.any(pc.is_in(batch[column], wanted)).as_py():
                    return True
    return False


def _in_dsjson(names: Collection[Path], decision_ids: Collection[str]) -> bool:
    for path in names:
        if path.suffix != ".dsjson":
            continue
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                found: Mapping[str, object] = json.loads(line)
                # Of later slots it is "<decision>:<rank>"; a caller's own id may have a colon itself.
                event = str(found["EventId"])
                if event in decision_ids or event.rpartition(":")[0] in decision_ids:
                    return True
    return False


def remove_files(folder: Path) -> None:
    """Remove a folder. What stays of it is told in the log: no export knows it any more, so workers try again."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        log.warning("%s is not here: if workers have it elsewhere, they remove it", folder.name)
    except OSError as error:
        log.warning("%s is not removed yet, workers try again: %s", folder.name, error.strerror)

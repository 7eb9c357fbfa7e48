"""Files of finished exports: whether a customer is in them."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_NAMES_CUSTOMERS = ("decisions", "features", "customers")
PERSONAL = (*_NAMES_CUSTOMERS, "outcomes")
"""Kinds of exports that have rows of persons."""


def is_in_files(folder: Path, kind: str, customer_id: str, decision_ids: Collection[str]) -> bool:
    """Return whether a finished export of a kind, in ``folder/<kind>``, has rows of a customer.

    ``decision_ids``: the customer's decisions. True for files that cannot be read: nobody can tell what is in them.
    """
    if kind not in PERSONAL:
        return False
    try:
        return _in_parquet(folder / kind, kind, customer_id, decision_ids) or _in_dsjson(
            folder / kind, decision_ids
        )
    except (OSError, ValueError, pa.ArrowException):
        return True


def _in_parquet(folder: Path, kind: str, customer_id: str, decision_ids: Collection[str]) -> bool:
    column, wanted = "customer_id", pa.array([customer_id])
    if kind not in _NAMES_CUSTOMERS:
        column, wanted = "decision_id", pa.array(sorted(decision_ids), pa.string())
    for path in sorted(folder.glob("day=*/part-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[column]):
                if pc.any(pc.is_in(batch[column], wanted)).as_py():
                    return True
    return False


def _in_dsjson(folder: Path, decision_ids: Collection[str]) -> bool:
    for path in sorted(folder.glob("day=*/part-*.dsjson")):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                found: Mapping[str, object] = json.loads(line)
                # Of later slots it is "<decision>:<rank>"; a caller's own id may have a colon itself.
                event = str(found["EventId"])
                if event in decision_ids or event.rpartition(":")[0] in decision_ids:
                    return True
    return False

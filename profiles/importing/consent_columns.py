"""Columns of consents and objections: what the rows of a file say about each purpose."""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from profiles.consents import Change, read_statement
from profiles.customer import OBJECTION
from profiles.importing import columns
from profiles.importing.problems import Problems

Items = Sequence[str]


def consents_and_changes(
    problems: Problems,
    batch: pa.RecordBatch,
    consents: Mapping[str, str],
    objections: Mapping[str, str],
    channels: Collection[str] | None,
) -> tuple[pa.StringArray, pa.StringArray]:
    """Read what all rows say, and refuse those that say it wrongly.

    ``consents`` and ``objections``: purposes to the columns that hold them. ``channels``: see ``read_statement``.
    Returns two JSON objects a row: the entries of a customer without any before, and the changes, by purpose.
    """

    @lru_cache(maxsize=4096)
    def read(items: tuple[str, ...]) -> Change | str | None:
        return read_statement(items, channels)

    changes: list[dict[str, Change]] = [{} for _ in range(len(batch))]
    for purpose in dict.fromkeys((*consents, *objections)):
        field = consents.get(purpose) or objections[purpose]
        agreed = _items(problems, consents.get(purpose), batch)
        objected = _items(problems, objections.get(purpose), batch)
        refused: dict[str, list[int]] = {}
        for row, (said, against) in enumerate(zip(agreed, objected, strict=True)):
            if not said and not against:
                continue
            change = read((*said, *(OBJECTION + channel for channel in against)))
            if isinstance(change, str):
                refused.setdefault(change, []).append(row)
            elif change is not None:
                changes[row][purpose] = change
        for reason, rows in refused.items():
            mask = np.zeros(len(batch), np.bool_)
            mask[rows] = True
            others = [name for name in (consents.get(purpose), objections.get(purpose)) if name]
            problems.refuse(mask, field, reason, batch[field], unless=others)
    # Few things are said, by many rows.
    written: dict[tuple[tuple[str, Change], ...], tuple[str, str]] = {}
    texts = []
    for change_of in changes:
        key = tuple(change_of.items())
        if key not in written:
            written[key] = _entries_json(change_of), changes_json(change_of)
        texts.append(written[key])
    return (
        pa.array([entries for entries, _ in texts], pa.string()),
        pa.array([change for _, change in texts], pa.string()),
    )


def _items(problems: Problems, field: str | None, batch: pa.RecordBatch) -> list[Items]:
    if field is None:
        return [()] * len(batch)
    found: list[Items] = columns.lists(problems, field, batch[field]).to_pylist()
    return found


def _entries_json(changes: Mapping[str, Change]) -> str:
    if not changes:
        return "{}"
    entries = {purpose: change.apply(None) for purpose, change in changes.items()}
    return to_json({purpose: some for purpose, some in entries.items() if some}).decode()


def changes_json(changes: Mapping[str, Change]) -> str:
    """Write changes by purpose as JSON, as the function ``consents_after`` in Postgres takes them."""
    if not changes:
        return "{}"
    plain = {
        purpose: {"add": change.add, "drop": change.drop, "withdraw_all": change.withdraw_all}
        for purpose, change in changes.items()
    }
    return to_json(plain).decode()


def combine_consents(clean: pa.RecordBatch, codes: NDArray[np.int32]) -> pa.RecordBatch:
    """Let the last row of each customer say, of consents, all that its rows say one after the other.

    ``clean`` has ``consents`` and ``consent_changes``; ``codes``, shape (n,), number the customer of each row.
    """
    said = clean["consent_changes"].to_pylist()
    so_far: dict[int, dict[str, Change]] = {}
    combined: list[str] = []
    entries: list[str] = []
    for code, text in zip(codes.tolist(), said, strict=True):
        before = so_far.setdefault(code, {})
        for purpose, change in _read_changes(text).items():
            before[purpose] = before[purpose].then(change) if purpose in before else change
        combined.append(changes_json(before))
        entries.append(_entries_json(before))
    for name, texts in (("consents", entries), ("consent_changes", combined)):
        at = clean.schema.get_field_index(name)
        clean = clean.set_column(at, name, pa.array(texts, pa.string()))
    return clean


def _read_changes(text: str) -> dict[str, Change]:
    if text == "{}":
        return {}
    return {
        purpose: Change(tuple(change["add"]), tuple(change["drop"]), change["withdraw_all"])
        for purpose, change in from_json(text).items()
    }

"""Reports as JSON: of any size, made beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from fastapi import Response
from pydantic_core import to_json

Made = TypeVar("Made")

ROWS_AT_ONCE = 200
"""So many rows are written before other threads may go on."""


async def json_answer(make: Callable[[], tuple[Mapping[str, Any], Mapping[str, Sequence[Any]]]]) -> Response:
    """Answer with a report that ``make`` makes, and that is written, in a thread.

    ``make`` returns the report without its rows, and the columns of these. The members of rows come in the order of the
    columns.
    """
    return Response(await asyncio.to_thread(lambda: write_json(*make())), media_type="application/json")


def write_json(report: Mapping[str, Any], columns: Mapping[str, Sequence[Any]]) -> bytes:
    """Write a report and its ``rows``, which come last."""
    names = tuple(columns)
    rows = zip(*columns.values(), strict=True)
    parts = [to_json([dict(zip(names, row, strict=True)) for row in some])[1:-1] for some in in_turns(rows)]
    members = to_json(report)[1:-1]
    return b"{" + members + (b"," if members else b"") + b'"rows":[' + b",".join(parts) + b"]}"


def in_turns(rows: Iterator[Made]) -> Iterator[list[Made]]:
    """Yield some rows at a time, and let other threads run in between.

    A call of compiled code over thousands of rows holds the interpreter for as long as it takes, and the event loop
    waits for it, in whatever thread the call is.
    """
    while some := list(islice(rows, ROWS_AT_ONCE)):
        yield some
        time.sleep(0)

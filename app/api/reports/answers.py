"""Reports as JSON: of any size, made beside the event loop."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

import msgspec
from fastapi import Response

from storage.postgres import ROWS_AT_ONCE

Item = TypeVar("Item")
_ENCODER = msgspec.json.Encoder()
Report = tuple[Mapping[str, Any], Iterable[Mapping[str, Any] | msgspec.Struct]]
"""A report without its rows, and these."""


async def json_answer(make: Callable[[], Report]) -> Response:
    """Answer with a report that ``make`` makes, and that is written, in a thread.

    Nothing is validated: reports are documented by models, which thousands of rows would be slow to become.
    """
    return Response(await asyncio.to_thread(lambda: write_json(*make())), media_type="application/json")


def write_json(report: Mapping[str, Any], rows: Iterable[Mapping[str, Any] | msgspec.Struct]) -> bytes:
    """Write a report, which has at least one member, and its ``rows``, which come last."""
    parts = [_ENCODER.encode(some)[1:-1] for some in in_turns(rows)]
    return _ENCODER.encode(report)[:-1] + b',"rows":[' + b",".join(parts) + b"]}"


def in_turns(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield some items at a time, and let other threads run in between.

    A call of compiled code over thousands of rows holds the interpreter for as long as it takes, and the event loop
    waits for it, in whatever thread the call is.
    """
    remaining = iter(items)
    while some := list(islice(remaining, ROWS_AT_ONCE)):
        yield some
        time.sleep(0)

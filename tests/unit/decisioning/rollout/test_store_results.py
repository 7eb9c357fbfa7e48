"""The time up to which the log is known to be archived."""

from collections.abc import Mapping
from typing import cast

import pytest

from decisioning.log.store_archive import ArchiveReader
from decisioning.log.store_stream import LogReader
from decisioning.model.position import StreamPosition
from decisioning.rollout.results import MadeDecision
from decisioning.rollout.store_results import SLACK_MS, LogPlace, archived_until_ms
from storage.clock import to_datetime

NOW_MS = 1_800_000_000_000
Positions = Mapping[int, str]


class Ends:
    """The ends of streams, or the archived positions."""

    def __init__(self, positions: Positions) -> None:
        self._positions = {bucket: StreamPosition(position) for bucket, position in positions.items()}

    async def ends(self) -> dict[int, StreamPosition]:
        return self._positions

    async def positions(self) -> dict[int, StreamPosition]:
        return self._positions


@pytest.mark.parametrize(
    ("ends", "archived", "until_ms"),
    [
        ({}, {}, NOW_MS),
        ({0: "500-1", 1: "900-0"}, {0: "500-1", 1: "900-0"}, NOW_MS),
        ({0: "500-2", 1: "900-0"}, {0: "500-1", 1: "900-0"}, 500),
        ({0: "600-0", 1: "900-0"}, {0: "500-1", 1: "400-7"}, 400),
        ({0: "600-0"}, {}, 0),
        ({0: "600-0"}, {0: "700-0"}, NOW_MS),
        ({0: f"{NOW_MS + 9}-1"}, {0: f"{NOW_MS + 9}-0"}, NOW_MS),
        ({0: "10-0"}, {0: "9-0", 1: "1-0"}, 9),
    ],
    ids=[
        "nothing",
        "all",
        "same ms",
        "the oldest",
        "never",
        "lost its end",
        "clock ahead",
        "numbers, not texts",
    ],
)
async def test_it_is_the_oldest_end_of_what_is_behind(
    ends: Positions, archived: Positions, until_ms: int
) -> None:
    reader, archive = cast(LogReader, Ends(ends)), cast(ArchiveReader, Ends(archived))
    assert await archived_until_ms(reader, archive, NOW_MS) == until_ms - SLACK_MS


def test_the_place_behind_a_decision_is_of_its_time_and_id() -> None:
    made = MadeDecision("d1", "ann", NOW_MS, NOW_MS, "champion", "a@1", False, [], [])
    assert LogPlace.behind(made) == LogPlace(to_datetime(NOW_MS), "d1")

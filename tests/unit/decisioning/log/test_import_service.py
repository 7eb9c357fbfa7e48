"""History that is imported: each row is one decision with its outcome, and counts once however often it comes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.log.codec import parse_entry
from decisioning.log.import_service import BATCH_SIZE, PLACEMENT, HistoryImporter, PastDecision
from decisioning.log.ports import DecisionLog
from decisioning.model.decision import LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.keys import Keys

KEYS = Keys(8)
AT_MS = 1_700_000_000_000
ROW = PastDecision("ann", "gold", AT_MS, "accepted", AT_MS + 5, 12.5, None, 0.25)
Records = Sequence[Sequence[str | bytes]]


class Log:
    """The hot log and the archive behind it: it takes what it has not got, as Redis does."""

    def __init__(self, archived: Collection[str] = ()) -> None:
        self.archived = set(archived)
        self.asked: list[int] = []
        self.kept: dict[str, tuple[int, Records]] = {}

    async def known(self, decisions: Mapping[str, int]) -> set[str]:
        self.asked.append(len(decisions))
        return self.archived & set(decisions)

    async def append(self, bucket: int, mark: str, records: Records) -> bool:
        entry = bucket, records
        return self.kept.setdefault(mark, entry) is entry


def importer(log: Log) -> HistoryImporter:
    """An importer of rows about ``gold`` and ``news``."""
    return HistoryImporter(cast(DecisionLog, log), log, KEYS, {"gold": 7, "news": 9}, 3)


def kept_of(log: Log, row: PastDecision) -> tuple[LoggedDecision, Outcome]:
    """Records that were appended of a row, as readers of the log parse it."""
    bucket, records = log.kept[row.decision_id]
    assert bucket == KEYS.bucket(row.customer_id)
    parsed: list[Any] = []
    for record in records:
        as_bytes = [part if isinstance(part, bytes) else str(part).encode() for part in record]
        fields = dict(zip(as_bytes[::2], as_bytes[1::2], strict=True))
        parsed.append(parse_entry(bucket, StreamPosition("5-1"), fields))
    logged, (outcome,) = parsed
    return logged, outcome


@pytest.mark.parametrize(("outcome", "reward"), [("accepted", 1.0), ("rejected", 0.0), ("expired", 0.0)])
async def test_a_row_is_a_decision_of_nobody_with_its_outcome(outcome: str, reward: float) -> None:
    log, row = Log(), replace(ROW, outcome=outcome, value=None if reward == 0 else 12.5)
    assert await importer(log).append([row]) == 1
    logged, told = kept_of(log, row)
    decision = logged.decision
    assert (decision.source, decision.placement, decision.catalog_version) == ("history", PLACEMENT, 3)
    assert (decision.decided_at_ms, decision.until_ms, decision.numbers) == (AT_MS, AT_MS + 5, (7,))
    assert (decision.offers[0].probability, decision.customer_id) == (None, "ann")
    assert (logged.candidates.tolist(), logged.base_propensities.tolist()) == ([7], [0.25])
    assert (told.offer, told.outcome, told.reward, told.late) == (7, outcome, reward, False)
    assert (told.value, told.base_propensity, told.at_ms) == (row.value, 0.25, AT_MS + 5)
    assert told.policy == decision.policy.key


async def test_rows_count_once_in_the_same_file_in_the_next_and_once_archived() -> None:
    other = replace(ROW, offer_id="news")
    log = Log(archived=[other.decision_id])
    assert await importer(log).append([ROW, other, replace(ROW, outcome="rejected")]) == 1
    assert await importer(log).append([ROW, replace(ROW, customer_id="bob")]) == 1
    assert set(log.kept) == {ROW.decision_id, replace(ROW, customer_id="bob").decision_id}


async def test_rows_go_in_parts() -> None:
    log = Log()
    rows = [replace(ROW, customer_id=f"c{n}") for n in range(BATCH_SIZE + 1)]
    assert await importer(log).append(rows) == len(rows) == len(log.kept)
    assert log.asked == [BATCH_SIZE, 1]
    assert await importer(log).append([]) == 0


ROWS = st.builds(
    PastDecision,
    st.sampled_from(("a", "b", "a1")),
    st.sampled_from(("1", "11")),
    st.sampled_from((1, 11, 111)),
    st.sampled_from(("accepted", "expired")),
    st.integers(0, 9),
    st.none() | st.floats(0, 9),
    st.sampled_from((None, "history", "web")),
    st.floats(0, 1),
)


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_two_rows_have_one_id_exactly_if_they_are_about_the_same_decision(
    one: PastDecision, two: PastDecision
) -> None:
    def decision(row: PastDecision) -> tuple[str, str, int, str]:
        return row.customer_id, row.offer_id, row.decided_at_ms, row.placement or PLACEMENT

    assert (one.decision_id == two.decision_id) == (decision(one) == decision(two))

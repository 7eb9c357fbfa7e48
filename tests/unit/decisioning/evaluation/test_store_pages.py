"""The archived log page by page: every decision once, in the order of time, with the outcomes of its stretch."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.evaluation import store_pages
from decisioning.evaluation.store_pages import HindsightReader, Span
from decisioning.log.store_archive import Archiver
from decisioning.log.store_stream import Batch
from decisioning.model.deciders import HISTORY
from decisioning.model.decision import LoggedDecision, LoggedPolicy
from decisioning.model.position import StreamPosition
from storage.clock import to_datetime
from storage.postgres import make_engine
from tests.support.decided import NOW_MS, decision
from tests.support.logged import ACCEPTED

AT_MS = [NOW_MS, NOW_MS + 1, NOW_MS + 1, NOW_MS + 1, NOW_MS + 2, NOW_MS + 3]
ONE = np.array([7], np.uint32), np.array([0.25], np.float32)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def archived(postgres_url: str) -> str:
    """Decisions at a few times, three of them at the same, each with an outcome; and one of another placement."""
    decided = [
        LoggedDecision(
            0, StreamPosition(f"{n + 1}-0"), decision(f"d{n}", decided_at_ms=at, until_ms=at + 9), *ONE
        )
        for n, at in enumerate(AT_MS)
    ]
    elsewhere = decision("x", placement="desk", decided_at_ms=NOW_MS, until_ms=NOW_MS)
    decided.append(LoggedDecision(0, StreamPosition("8-0"), elsewhere, *ONE))
    told = [
        structs.replace(
            ACCEPTED,
            bucket=0,
            position=StreamPosition(f"{20 + n}-0"),
            decision_id=logged.decision_id,
            decided_at_ms=logged.decision.decided_at_ms,
            recorded_ms=NOW_MS + 100 - n,
            placement=logged.decision.placement,
        )
        for n, logged in enumerate(decided)
    ]
    archiver = Archiver(postgres_url)
    async with archiver.turn() as positions:
        assert positions is not None
        await archiver.write(Batch({0: StreamPosition("30-0")}, decided, told))
    await archiver.close()
    return postgres_url


@pytest.fixture
async def engine(archived: str) -> AsyncIterator[AsyncEngine]:
    """The database of the archive."""
    made = make_engine(archived, pool_size=1)
    yield made
    await made.dispose()


async def span_of(engine: AsyncEngine, limit: int = 100) -> Span:
    """The span of the newest decisions at ``home``."""
    span = await HindsightReader(engine).span("home", None, None, limit)
    assert span is not None
    return span


async def test_the_newest_decisions_make_the_span(engine: AsyncEngine) -> None:
    whole = await span_of(engine)
    assert (whole.decisions, whole.start) == (6, to_datetime(NOW_MS))
    assert whole.end > to_datetime(AT_MS[-1])
    newest = await span_of(engine, 2)
    assert (newest.decisions, newest.start) == (2, to_datetime(AT_MS[4]))
    assert await HindsightReader(engine).span("home", to_datetime(NOW_MS + 4), None, 9) is None
    assert await HindsightReader(engine).span("nowhere", None, None, 9) is None
    between = await HindsightReader(engine).span("home", to_datetime(AT_MS[1]), to_datetime(AT_MS[4]), 9)
    assert between is not None
    assert between.decisions == 3


@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_pages_hold_every_decision_once_whatever_their_size(
    engine: AsyncEngine, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_pages, "PAGE_SIZE", size)
    pages = [page async for page in HindsightReader(engine).pages(await span_of(engine))]
    assert [d.decision_id for page in pages for d in page.decided] == [f"d{n}" for n in range(6)]
    assert sorted(o.decision_id for page in pages for o in page.outcomes) == [
        *(f"d{n}" for n in range(6)),
        "x",
    ]
    assert all(page.decided for page in pages)
    for page in pages:
        # Decisions of the same moment are never parted, and outcomes come with those of their time.
        assert {o.decided_at_ms for o in page.outcomes} <= {d.decision.decided_at_ms for d in page.decided}


async def test_only_outcomes_of_the_placements_that_are_wanted(engine: AsyncEngine) -> None:
    async def placements(*wanted: str) -> set[str]:
        pages = [page async for page in HindsightReader(engine).pages(await span_of(engine), wanted)]
        return {outcome.placement for page in pages for outcome in page.outcomes}

    assert await placements() == await placements("desk") == {"home", "desk"}
    assert await placements("nowhere") == {"home"}


async def test_what_was_before_comes_in_the_order_of_recording_if_asked(engine: AsyncEngine) -> None:
    span = await span_of(engine, 2)
    batches = [b async for b in HindsightReader(engine).before(span, in_order=True)]
    assert [o.decision_id for batch in batches for o in batch] == ["x", "d3", "d2", "d1", "d0"]
    only = [b async for b in HindsightReader(engine).before(span, ("home",))]
    assert {o.decision_id for batch in only for o in batch} == {"d0", "d1", "d2", "d3"}


async def test_imported_history_does_not_use_up_the_limit(postgres_url: str) -> None:
    """Newer than all others and more than the limit: it is counted apart, and its outcomes can still be learned."""
    past = [
        LoggedDecision(
            1,
            StreamPosition(f"{n + 1}-0"),
            decision(
                f"past{n}",
                placement="mixed",
                policy=LoggedPolicy.of(HISTORY),
                source="history",
                decided_at_ms=NOW_MS + 50 + n,
                until_ms=NOW_MS + 50 + n,
            ),
            *ONE,
        )
        for n in range(5)
    ]
    live = [
        LoggedDecision(
            1,
            StreamPosition(f"{n + 10}-0"),
            decision(f"live{n}", placement="mixed", decided_at_ms=NOW_MS + n, until_ms=NOW_MS + n),
            *ONE,
        )
        for n in range(3)
    ]
    archiver = Archiver(postgres_url)
    async with archiver.turn() as positions:
        assert positions is not None
        await archiver.write(Batch({1: StreamPosition("30-0")}, past + live, []))
    await archiver.close()
    engine = make_engine(postgres_url, pool_size=1)
    try:
        reader = HindsightReader(engine)
        span = await reader.span("mixed", None, None, 2)
        assert span is not None
        assert (span.decisions, span.imported, span.start) == (2, 5, to_datetime(NOW_MS + 1))
        decided = [d.decision_id async for page in reader.pages(span) for d in page.decided]
        assert decided == ["live1", "live2"]
        alone = await reader.span("mixed", to_datetime(NOW_MS + 50), None, 2)
        assert alone is not None
        assert (alone.decisions, alone.open, alone.imported) == (0, 0, 5)
    finally:
        await engine.dispose()

"""Drift: found once, in the order of decisions, whoever watches; and shown."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from sqlalchemy import text

from app.worker.drift_watch import BATCH_SIZE, DriftWatch
from bandits.monitoring.change_detection import Detection, OfferReward
from decisioning.log.store_archive import Archiver, ArchiveReader
from decisioning.log.store_stream import Batch, LogReader
from decisioning.model.decision import DecidedOffer, LoggedDecision
from decisioning.model.outcome import Outcome as Told
from decisioning.model.position import StreamPosition
from decisioning.rollout.store_drift import DriftStore
from storage import clock
from tests.support.api import Nextbest, problem_of
from tests.support.bandits_changes import detect_changes
from tests.support.canaries import place
from tests.support.decided import decision as made_by_hand
from tests.support.waiting import Deadline

pytestmark = pytest.mark.asyncio(loop_scope="module")

START_MS = clock.now_ms() // 1000 * 1000 - 7_200_000
HORIZON_S = 60


def rewards(seed: int, *parts: tuple[int, float]) -> list[bool]:
    """Accepted or not: so many in a row with a rate, then so many with another."""
    random = Random(seed)
    return [random.random() < rate for count, rate in parts for _ in range(count)]


GOLD = rewards(1, (700, 0.5), (500, 0.1))
SILVER = rewards(2, (1200, 0.3))
"""Of every decision, both are shown."""


def _accepted(decision_id: str, at_ms: int, offer_id: str, placement: str) -> Told:
    return Told(
        bucket=0,
        position=StreamPosition("1-1"),
        decision_id=decision_id,
        decided_at_ms=at_ms,
        offer_id=offer_id,
        offer=1,
        outcome="accepted",
        value=None,
        at_ms=at_ms + 900,
        recorded_ms=at_ms + 900,
        late=False,
        reward=1.0,
        base_propensity=float("nan"),
        policy="thompson@1",
        placement=placement,
    )


async def archive(
    nextbest: Nextbest, placement: str, gold: Sequence[bool], silver: Sequence[bool], at: int
) -> None:
    """Write decisions into the archive, one every 2 s, the first with number ``at``. A no is silence."""
    decided, told = [], []
    for number, liked in enumerate(zip(gold, silver, strict=True), start=at):
        at_ms = START_MS + 2000 * number
        decision = made_by_hand(
            f"{placement}-{number:06}",
            customer_id=f"c{number}",
            placement=placement,
            logged_group="champion",
            decided_at_ms=at_ms,
            until_ms=at_ms + 86_400_000,
            offers=(DecidedOffer("gold", 1), DecidedOffer("silver", 2)),
        )
        numbers, none = np.array([1, 2], dtype=np.uint32), np.full(2, np.nan, dtype=np.float32)
        decided.append(LoggedDecision(0, StreamPosition("1-1"), decision, numbers, none))
        for offer, accepted in zip(decision.offers, liked, strict=True):
            if accepted:
                told.append(_accepted(decision.decision_id, at_ms, offer.offer_id, placement))
    archiver = Archiver(str(nextbest.settings.postgres_url))
    try:
        async with archiver.turn() as positions:
            assert positions is not None
            await archiver.write(Batch({}, decided, told))
    finally:
        await archiver.close()


def job_of(nextbest: Nextbest) -> DriftWatch:
    """A watcher, as a worker has one."""
    state = nextbest.api.state
    reader, reading = LogReader(state.redis, state.keys), ArchiveReader(state.engine)
    return DriftWatch(DriftStore(state.engine), reader, reading, clock.now_ms, 1.0, HORIZON_S)


async def until_idle(job: DriftWatch) -> None:
    """Watch all that there is."""
    deadline = Deadline("the drift to be watched to its end")
    while await job.round() == 0.0:
        deadline.check()


async def vacate(nextbest: Nextbest) -> None:
    """As if the watcher had been silent for long."""
    async with nextbest.api.state.engine.begin() as connection:
        await connection.execute(text("UPDATE drift_watch SET until = now() - interval '1 s'"))


async def report(nextbest: Nextbest, query: str) -> Any:
    """The report on drift."""
    return await nextbest.api.ok("GET", f"/v1/reports/drift?{query}", role="ops")


def expected(accepted: Sequence[bool], offer: str) -> list[Detection]:
    """Return the changes that a plain fold over the outcomes detects."""
    outcomes = [OfferReward(offer, START_MS / 1000 + 2 * n, float(a)) for n, a in enumerate(accepted)]
    return list(detect_changes(outcomes))


def same(row: dict[str, Any], detection: Detection) -> bool:
    """True if a row of the report describes a detection."""
    return (
        row["offer_id"] == detection.offer
        and row["rate_before"] == pytest.approx(detection.rate_before)
        and row["rate_after"] == pytest.approx(detection.rate_after)
        and (row["observations_before"], row["observations_after"])
        == (detection.width_before, detection.width)
    )


@pytest_asyncio.fixture(loop_scope="module")
async def alone(shop: Nextbest) -> AsyncIterator[Nextbest]:
    """An installation where nobody watches."""
    async with shop.api.state.engine.begin() as connection:
        for table in (
            "drift_watch",
            "drift_positions",
            "drift_windows",
            "drift_detections",
            "decisions",
            "outcomes",
        ):
            await connection.exec_driver_sql(f"DELETE FROM {table}")
    yield shop


async def test_a_change_is_found_and_shown(alone: Nextbest) -> None:
    await place(alone.api, "shelf")
    before = REGISTRY.get_sample_value("nextbest_drifts_total", {"placement": "shelf", "offer": "gold"}) or 0
    await archive(alone, "shelf", GOLD, SILVER, 0)
    await until_idle(job_of(alone))
    found = await report(alone, "placement=shelf")
    (wanted,) = expected(GOLD, "gold")
    assert expected(SILVER, "silver") == []
    (row,) = found["detections"]
    assert same(row, wanted)
    assert row["rate_before"] == pytest.approx(0.5, abs=0.05)
    assert row["rate_after"] == pytest.approx(0.1, abs=0.05)
    gold, silver = found["windows"]
    seen = round(wanted.at_s - START_MS / 1000) // 2 + 1
    assert gold["observations"] == len(GOLD) - seen
    assert gold["rate"] == pytest.approx(sum(GOLD[seen:]) / len(GOLD[seen:]))
    assert gold["low"] < gold["rate"] < gold["high"]
    assert silver["observations"] == len(SILVER)
    assert silver["rate"] == pytest.approx(sum(SILVER) / len(SILVER))
    assert (
        REGISTRY.get_sample_value("nextbest_drifts_total", {"placement": "shelf", "offer": "gold"})
        == before + 1
    )
    await until_idle(job_of(alone))
    assert await report(alone, "placement=shelf") == found


async def test_watchers_that_come_and_go_find_what_one_would_have_found(alone: Nextbest) -> None:
    await place(alone.api, "relay")
    gold = rewards(5, (500, 0.5), (400, 0.1), (700, 0.5))
    silver = rewards(6, (1600, 0.3))
    wanted = expected(gold, "gold") + expected(silver, "silver")
    assert len(wanted) >= 2
    at = 0
    for size in (150, 333, 417, 300, 400):
        await archive(alone, "relay", gold[at : at + size], silver[at : at + size], at)
        at += size
        first, second = job_of(alone), job_of(alone)
        await asyncio.gather(first.round(), second.round())
        await vacate(alone)
        await until_idle(second)
        await vacate(alone)
        await until_idle(first)
        await vacate(alone)
    found = await report(alone, "placement=relay")
    assert len(found["detections"]) == len(wanted)
    for row, detection in zip(
        reversed(found["detections"]), sorted(wanted, key=lambda d: d.at_s), strict=True
    ):
        assert same(row, detection)
    assert found["windows"][1]["observations"] == len(silver)


async def test_one_watches_at_a_time(alone: Nextbest) -> None:
    await place(alone.api, "single")
    await archive(alone, "single", GOLD[:20], SILVER[:20], 0)
    first, second = job_of(alone), job_of(alone)
    await until_idle(first)
    await archive(alone, "single", GOLD[20:40], SILVER[20:40], 20)
    await second.round()
    assert (await report(alone, "placement=single"))["windows"][0]["observations"] == 20
    await until_idle(first)
    assert (await report(alone, "placement=single"))["windows"][0]["observations"] == 40


async def test_a_turn_that_was_broken_off_is_done_again(alone: Nextbest, monkeypatch: Any) -> None:
    await place(alone.api, "broken-off")
    await archive(alone, "broken-off", GOLD, SILVER, 0)
    job = job_of(alone)
    assert len(GOLD) > 2 * BATCH_SIZE
    assert await job.round() == 0.0
    keep = DriftStore.turn

    def fails(self: Any, owner: str) -> Any:
        raise OSError("gone")

    monkeypatch.setattr(DriftStore, "turn", fails)
    with pytest.raises(OSError, match="gone"):
        await job.round()
    monkeypatch.setattr(DriftStore, "turn", keep)
    await until_idle(job)
    found = await report(alone, "placement=broken-off")
    assert [same(row, d) for row, d in zip(found["detections"], expected(GOLD, "gold"), strict=True)] == [
        True
    ]


async def test_silence_is_waited_for(alone: Nextbest) -> None:
    """Decisions of the last minute are not known yet, unless they are accepted; so nothing behind them is watched."""
    await place(alone.api, "fresh")
    now = (clock.now_ms() - START_MS) // 2000
    await archive(alone, "fresh", [True] * 50 + [False] + [True] * 10, [True] * 61, now - 50 - 15)
    await until_idle(job_of(alone))
    found = await report(alone, "placement=fresh")
    assert {row["observations"] for row in found["windows"]} == {50}


async def test_filters_and_refusals(alone: Nextbest) -> None:
    await place(alone.api, "shelf")
    await archive(alone, "shelf", GOLD, SILVER, 0)
    await until_idle(job_of(alone))
    assert [row["offer_id"] for row in (await report(alone, "offer=silver"))["windows"]] == ["silver"]
    assert await report(alone, "placement=nowhere") == {"windows": [], "detections": []}
    assert (await report(alone, "offer=silver"))["detections"] == []
    for query, field in (
        ("limit=0", "limit"),
        ("offers=gold", "offers"),
        ("placement=%00", "placement"),
    ):
        problem_of(await alone.api.call("GET", f"/v1/reports/drift?{query}"), 422, field)


async def test_a_watch_that_is_built_again_begins_behind_the_last_change(
    alone: Nextbest, monkeypatch: Any
) -> None:
    await place(alone.api, "rebuilt")
    await archive(alone, "rebuilt", GOLD, SILVER, 0)
    await until_idle(job_of(alone))
    before = await report(alone, "placement=rebuilt&offer=gold")
    await vacate(alone)
    monkeypatch.setattr("decisioning.rollout.store_drift.LOOK_BACK_DECISIONS", 530)
    await archive(alone, "rebuilt", [True] * 5, [True] * 5, len(GOLD))
    await until_idle(job_of(alone))
    after = await report(alone, "placement=rebuilt&offer=gold")
    assert after["windows"][0]["observations"] == before["windows"][0]["observations"] + 5
    assert after["windows"][0]["since"] == before["windows"][0]["since"]
    assert after["detections"] == before["detections"]

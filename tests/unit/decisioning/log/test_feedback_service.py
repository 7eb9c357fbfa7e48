"""Feedback, on a log and an archive in memory: an outcome counts once, is late, or is refused with its reason."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, cast

import numpy as np
import pytest
from msgspec import structs

from decisioning.errors import Conflict, Invalid, NotFound
from decisioning.log.feedback_service import SKEW_MS, Feedback, FeedbackService
from decisioning.log.ports import Contacts, DecisionLog, TellOutcome
from decisioning.model.decision import DecidedOffer, DecisionContacts, LoggedDecision, OfferContact
from decisioning.model.entities import FOREVER_MS
from decisioning.model.outcome import NOTHING_FOLLOWS, Outcome
from decisioning.model.position import StreamPosition
from storage.clock import DAY_MS
from storage.errors import RedisUnavailable
from tests.support.decided import NOW_MS as DECIDED_MS
from tests.support.decided import decision
from tests.support.logged import ACCEPTED

MADE = decision(
    offers=(DecidedOffer("gold", 1), DecidedOffer("news", 2)),
    numbers=(7, 9),
    contacts=DecisionContacts(DAY_MS, None, (OfferContact("cards", "grow"), OfferContact("", "", False))),
)
NOW_MS = MADE.until_ms + 1


class Log:
    """The part of the hot log that feedback needs: a reply, or no such decision, and all that it was asked to keep.

    ``unread``: the decisions of which it does not say where they are.
    """

    def __init__(self, status: str | None = None, detail: str = "", unread: Collection[str] = ()) -> None:
        self.reply = None if status is None else (status, detail)
        self.asked: list[tuple[Any, ...]] = []
        self.kept: dict[str, tuple[int, dict[str, str], Contacts]] = {}
        self._bucket = None if status is None else 3
        self._unread = unread

    async def bucket_of(self, decision_id: str) -> int | None:
        if decision_id in self._unread:
            raise RedisUnavailable("gone")
        return self._bucket

    async def buckets_of(self, decision_ids: Iterable[str]) -> dict[str, int | RedisUnavailable | None]:
        gone = RedisUnavailable("gone")
        return {name: gone if name in self._unread else self._bucket for name in decision_ids}

    async def feedback(self, told: Sequence[TellOutcome]) -> list[tuple[str, str]]:
        self.asked += [tuple(one) for one in told]
        return [self.reply or ("unknown", "") for _ in told]

    async def append(self, bucket: int, mark: str, records: list[list[str]], contacts: Contacts) -> bool:
        ((*fields,),) = records
        entry = (bucket, dict(zip(fields[::2], fields[1::2], strict=True)), contacts)
        return self.kept.setdefault(mark, entry) is entry


class Archived:
    """The archive: the decision ``d1``, and the kinds of outcome that were told of its offer ``gold``."""

    def __init__(self, *told: str) -> None:
        self._told = told

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        candidates = np.array([7, 9], np.uint32), np.array([0.5, 0.25], np.float32)
        return LoggedDecision(5, StreamPosition("1-0"), MADE, *candidates) if decision_id == "d1" else None

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]:
        return [
            structs.replace(ACCEPTED, decision_id="d1", decided_at_ms=DECIDED_MS, outcome=told)
            for told in self._told
        ]


def service(log: Log, *told: str, now_ms: int = NOW_MS) -> FeedbackService:
    """The service, with what the archive knows, at a time."""
    return FeedbackService(cast(DecisionLog, log), Archived(*told), lambda: now_ms)


def told(outcome: str = "accepted", offer_id: str = "gold", **fields: Any) -> Feedback:
    """An outcome of the decision."""
    return Feedback("d1", offer_id, outcome, **fields)


@pytest.mark.parametrize("status", ["recorded", "duplicate", "late"])
async def test_a_decision_in_redis_is_not_asked_for_in_the_archive(status: str) -> None:
    log = Log(status)
    assert await service(log, "rejected").record(told(value=2.5, at_ms=NOW_MS - 1)) == status
    assert log.asked == [(3, "d1", "gold", "accepted", 2.5, NOW_MS - 1, NOW_MS, SKEW_MS, NOTHING_FOLLOWS)]
    assert log.kept == {}


async def test_an_outcome_of_now_is_never_too_early_for_a_clock_that_is_behind() -> None:
    log = Log("recorded")
    await service(log).record(told())
    assert log.asked == [(3, "d1", "gold", "accepted", None, NOW_MS, NOW_MS, FOREVER_MS, NOTHING_FOLLOWS)]


@pytest.mark.parametrize("status", [None, "recorded"])
async def test_the_future_begins_beyond_the_difference_of_clocks(status: str | None) -> None:
    assert await service(Log(status)).record(told(at_ms=NOW_MS + SKEW_MS)) in ("late", "recorded")
    log = Log(status)
    with pytest.raises(Invalid, match="future") as caught:
        await service(log).record(told(at_ms=NOW_MS + SKEW_MS + 1))
    assert caught.value.field == "occurred_at"
    assert (log.asked, log.kept) == ([], {})


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ("not_offered", Invalid, "'gold' was not among the offers"),
        ("contradicts", Conflict, "'gold' was already rejected"),
        ("too_early", Invalid, "lies before the decision"),
    ],
)
async def test_a_refusal_of_redis_has_its_reason(status: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        await service(Log(status, "rejected")).record(told())


@pytest.mark.parametrize("status", [None, "unknown"])
async def test_an_archived_decision_takes_an_outcome_once_and_late(status: str | None) -> None:
    log = Log(status)
    asked = service(log, "presented")
    assert [await asked.record(told(value=2.5, at_ms=NOW_MS - 1)) for _ in "12"] == ["late", "duplicate"]
    ((bucket, record, contacts),) = log.kept.values()
    assert (bucket, record["n"], record["k"], record["v"]) == (5, "7", "accepted", "2.5")
    assert (record["at"], record["ts"], record["d"]) == (str(NOW_MS - 1), str(NOW_MS), str(DECIDED_MS))
    assert (record["l"], record["r"]) == ("1", "")  # nothing is learned from it
    assert contacts == Contacts("ann", DAY_MS, [(NOW_MS - 1, "7:cards:grow:a:web:d1")])


async def test_a_contact_is_not_kept_for_the_future() -> None:
    log = Log()
    await service(log).record(told("accepted", "news", at_ms=NOW_MS + SKEW_MS))
    ((_, record, contacts),) = log.kept.values()
    assert record["at"] == str(NOW_MS + SKEW_MS)
    assert contacts.members == [(NOW_MS, "9:::A:web:d1")]


@pytest.mark.parametrize(("earlier", "outcome"), [("accepted", "rejected"), ("rejected", "accepted")])
async def test_the_first_answer_counts(earlier: str, outcome: str) -> None:
    log = Log()
    with pytest.raises(Conflict, match=f"'gold' was already {earlier}"):
        await service(log, earlier).record(told(outcome))
    assert await service(log, earlier).record(told(earlier)) == "duplicate"
    assert log.kept == {}
    for feedback in (told("clicked"), told("clicked", "news"), told(outcome, "news")):
        assert await service(log, earlier).record(feedback) == "late"


async def test_too_early_begins_beyond_the_difference_of_clocks() -> None:
    assert await service(Log()).record(told(at_ms=DECIDED_MS - SKEW_MS)) == "late"
    log = Log()
    with pytest.raises(Invalid, match="before the decision") as caught:
        await service(log).record(told(at_ms=DECIDED_MS - SKEW_MS - 1))
    assert (caught.value.field, log.kept) == ("occurred_at", {})


async def test_unknown_is_a_decision_that_is_nowhere_or_was_withdrawn() -> None:
    with pytest.raises(NotFound):
        await service(Log("unknown")).record(Feedback("d2", "gold", "accepted"))
    with pytest.raises(NotFound):
        await service(Log(), "withdrawn").record(told())


async def test_a_decision_that_redis_lost_is_waited_for_until_its_time_is_over() -> None:
    log = Log()
    with pytest.raises(RedisUnavailable, match="being restored"):
        await service(log, "accepted", now_ms=MADE.until_ms).record(told())
    with pytest.raises(Invalid, match="not among the offers"):  # restoring it would not change this
        await service(log, now_ms=MADE.until_ms).record(told(offer_id="silver"))
    assert log.kept == {}
    assert await service(log, now_ms=MADE.until_ms + 1).record(told()) == "late"


async def test_each_outcome_of_several_has_its_own_answer() -> None:
    log = Log("recorded", unread={"d2"})
    several = [
        told("loved"),
        told("accepted"),
        Feedback("d2", "gold", "accepted"),
        told(at_ms=NOW_MS + SKEW_MS + 1),
        told("rejected", "news"),
    ]
    answers = await service(log).record_all(several)
    assert [type(one) for one in answers] == [Invalid, str, RedisUnavailable, Invalid, str]
    assert [one[2:4] for one in log.asked] == [("gold", "accepted"), ("news", "rejected")]
    alone = [await _alone(service(Log("recorded", unread={"d2"})), one) for one in several]
    assert [str(one) for one in answers] == alone


async def test_several_outcomes_of_an_archived_decision_are_answered_in_their_order() -> None:
    log = Log("unknown")
    outcomes = ["accepted", "clicked", "accepted", "rejected", "presented"]
    answers = await service(log, "rejected").record_all([told(one) for one in outcomes])
    assert [one if isinstance(one, str) else type(one) for one in answers] == [
        Conflict,
        "late",
        Conflict,
        "duplicate",
        "late",
    ]
    assert [mark.rpartition(":")[2] for mark in log.kept] == ["clicked", "presented"]
    assert [one[3] for one in log.asked] == outcomes


async def test_nothing_is_nothing() -> None:
    log = Log("recorded")
    assert await service(log).record_all([]) == []
    assert log.asked == []


async def _alone(asked: FeedbackService, feedback: Feedback) -> str:
    """The answer to one outcome that is told alone, or the error, as text."""
    try:
        return await asked.record(feedback)
    except (Invalid, RedisUnavailable) as error:
        return str(error)

"""An outcome that is told when its decision has left Redis is a contact all the same."""

import numpy as np
import pytest

from decisioning.log.codec import parse_history
from decisioning.log.feedback_service import Feedback, FeedbackService
from decisioning.model.decision import Contact, LoggedDecision
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from storage.clock import DAY_MS
from storage.redis import make_redis
from tests.support import contact_world as world

NOW_MS = 1_800_000_000_000


class Archived:
    """An archive with one decision, and what was told of it."""

    def __init__(self, logged: LoggedDecision, *told: str) -> None:
        self._logged = logged
        self._told = told

    async def decision(self, decision_id: str) -> LoggedDecision | None:
        return self._logged if decision_id == self._logged.decision_id else None

    async def outcomes(self, decision_id: str, decided_at_ms: int | None = None) -> list[Outcome]:
        decision = self._logged.decision
        return [
            Outcome(
                bucket=0,
                position=StreamPosition("1-0"),
                decision_id=decision_id,
                decided_at_ms=decision.decided_at_ms,
                offer_id=decision.offers[0].offer_id,
                offer=decision.numbers[0],
                outcome=told,
                value=None,
                at_ms=NOW_MS - DAY_MS,
                recorded_ms=NOW_MS - DAY_MS,
                late=False,
                reward=None,
                base_propensity=0.5,
                policy="thompson@1",
                placement="phone",
            )
            for told in self._told
        ]


@pytest.mark.parametrize(
    ("offer_id", "told", "kinds"),
    [
        ("news", (), "r"),
        ("news", ("released",), "dr"),
        ("bill", ("released",), "R"),
        ("news", ("presented",), "r"),
    ],
)
async def test_it_is_kept(redis_url: str, offer_id: str, told: tuple[str, ...], kinds: str) -> None:
    name = f"late-{offer_id}-{'-'.join(told)}"
    view = world.catalogue().view("phone")
    decision = world.decision_of(view, world.selection_of(view, [offer_id]), name, name, NOW_MS - 3 * DAY_MS)
    number = world.OFFERS[offer_id].number
    async with world.redis_log(redis_url) as log:
        bucket = log.keys.bucket(name)
        candidates = np.array([number], np.uint32), np.array([0.5], np.float32)
        logged = LoggedDecision(bucket, StreamPosition("1-0"), decision, *candidates)
        redis = make_redis(redis_url)
        await redis.set(log.keys.owner(name), f"{bucket} {name}")
        await redis.aclose()
        service = FeedbackService(log, Archived(logged, *told), lambda: NOW_MS)
        for expected in ("late", "duplicate"):
            feedback = Feedback(name, offer_id, "rejected", at_ms=NOW_MS - DAY_MS)
            assert await service.record(feedback) == expected
        reply = await log.pipe.call("ZRANGE", log.keys.contact(name), 0, -1, "WITHSCORES")
    group, goal = world.OFFERS[offer_id].group, "serve"
    assert parse_history(reply) == [
        Contact(number, NOW_MS - DAY_MS, group, goal, kind, "phone") for kind in kinds
    ]


def test_members_of_another_form_are_left_out() -> None:
    assert parse_history([b"7:an-old-decision", b"1", b"7:g:grow:d:web:x:y", b"2"]) == [
        Contact(7, 2, "g", "grow", "d", "web")
    ]

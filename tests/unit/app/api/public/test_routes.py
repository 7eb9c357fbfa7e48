"""Feedback of pages: what is looked up for it, and what is not."""

import asyncio
from types import SimpleNamespace
from typing import Any

from app.api.public.routes import OwnFeedback
from decisioning.errors import NotFound
from decisioning.log.feedback_service import Feedback
from storage.keys import Keys, generated_id

KEYS = Keys(64)
VISITOR = "visitor:5f0c1d9e8b7a4c3d9e8f7a6b"


class Looked:
    """A log and an archive in which there is nothing, and what they were asked for."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def bucket_of(self, decision_id: str) -> None:
        self.ids.append(f"log {decision_id}")

    async def decision(self, decision_id: str) -> None:
        self.ids.append(f"archive {decision_id}")
        await asyncio.sleep(0)

    async def record_all(self, told: list[Feedback]) -> list[str]:
        assert told == []
        return []


def own_feedback(looked: Looked) -> OwnFeedback:
    """Feedback of a visitor at `home`."""
    service: Any = SimpleNamespace(archive=looked, record_all=looked.record_all)
    state: Any = SimpleNamespace(decision_log=looked, keys=KEYS)
    return OwnFeedback(service, state, frozenset({VISITOR}), frozenset({"home"}))


async def test_an_id_of_another_bucket_is_looked_up_nowhere() -> None:
    looked, entropy = Looked(), bytes(16)
    mine = generated_id(KEYS.bucket(VISITOR), entropy)
    others = [generated_id(n, entropy) for n in (*range(64), 4095) if n != KEYS.bucket(VISITOR)]
    own = own_feedback(looked)
    asked = [*others, mine]
    refused = await own.record_all([Feedback(decision_id, "gold", "clicked") for decision_id in asked])
    assert {type(one) for one in refused} == {NotFound}
    assert [str(one) for one in refused] == [f"there is no decision '{decision_id}'" for decision_id in asked]
    assert looked.ids == [f"log {mine}", f"archive {mine}"]


async def test_a_decision_is_looked_up_once_for_a_batch() -> None:
    looked = Looked()
    own = own_feedback(looked)
    found = await own.record_all([Feedback("pub-0123456789abcdef", "gold", "clicked")] * 50)
    assert [type(error) for error in found] == [NotFound] * 50
    assert looked.ids == ["log pub-0123456789abcdef", "archive pub-0123456789abcdef"]

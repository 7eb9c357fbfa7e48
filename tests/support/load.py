"""A load that is never satisfied with less than an acknowledgement: decisions, and feedback sent until it is taken."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from nextbest_client import AsyncClient, Retries, Unavailable
from tests.support.waiting import Deadline

Told = tuple[str, str, str]
OUTCOMES = ("presented", "clicked", "accepted", "rejected")
PAUSE_S = 0.1
TIMEOUT_S = 5.0
STALLED_S = 120.0
"""Longer than servers that were killed take to come back."""


@dataclass
class Load:
    """Requests that were sent, and their answers. ``told`` maps what was acknowledged to its value."""

    urls: Sequence[str]
    headers: dict[str, str]
    rng: random.Random
    goal: int
    lasting_s: float
    customers: int = 60
    batch: int = 60
    sent: dict[Told, float] = field(default_factory=dict)
    told: dict[Told, float] = field(default_factory=dict)
    decided: dict[str, Any] = field(default_factory=dict)
    recorded: Counter[Told] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    started_s: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        what = "anything at all to be acknowledged"
        self._deadline = Deadline(
            what, timeout_s=STALLED_S, progress=self._taken, explain=lambda: self.answers
        )

    def _taken(self) -> tuple[int, int]:
        return len(self.decided), self.recorded.total() + self.answers["duplicate"]

    async def run(self, clients: int) -> None:
        """Send until ``goal`` outcomes are acknowledged, spread over ``lasting_s``."""
        limits = httpx.Limits(max_keepalive_connections=clients)
        hooks = {"response": [_says_when]}
        async with (
            httpx.AsyncClient(headers=self.headers, limits=limits, event_hooks=hooks) as http,
            asyncio.TaskGroup() as group,
        ):
            # Asked once: what is not acknowledged is sent again here, to another process maybe, and counted.
            caller = AsyncClient(http=http, timeout_s=TIMEOUT_S, retries=Retries(attempts=1))
            for number in range(clients):
                group.create_task(self._client(caller, number))

    async def _client(self, caller: AsyncClient, number: int) -> None:
        turn = 0
        while len(self.sent) < self.goal:
            elapsed_s = time.monotonic() - self.started_s
            if len(self.sent) > self.goal * elapsed_s / self.lasting_s:
                await asyncio.sleep(0.01)
                continue
            turn += 1
            own_id = f"own-{number}-{turn}" if self.rng.random() < 0.3 else None
            items = await self._items(caller, own_id)
            if self.rng.random() < 0.15:
                await asyncio.gather(*(self._until_taken(caller, [item]) for item in items))
            else:
                while len(items) < self.batch and len(self.sent) < self.goal:
                    items += await self._items(caller, None)
                await self._until_taken(caller, items)
            again = [item for item in items if self.rng.random() < 0.25]
            if again:
                await self._until_taken(caller, again)

    async def _items(self, caller: AsyncClient, own_id: str | None) -> list[dict[str, Any]]:
        """A decision, and what is to be told about its offers."""
        body: dict[str, Any] = {"customer_id": f"c{self.rng.randrange(self.customers)}", "placement": "web"}
        if own_id is not None:
            body["decision_id"] = own_id
        answer = await self._post(caller, "/v1/decisions", body)
        if answer is None or answer["feedback_until"] is None:
            return []  # made without Redis: it is not logged
        self.decided[answer["decision_id"]] = answer
        if (
            own_id is not None and self.rng.random() < 0.5
        ):  # the same id, the same answer; unless Redis is gone
            again = await self._post(caller, "/v1/decisions", body)
            assert again is None or again["feedback_until"] is None or again == answer
        items = []
        for offer in answer["offers"]:
            last = self.rng.choice(("accepted", "rejected"))
            for outcome in ("presented", "clicked", last):
                value = self.rng.randrange(40) / 4
                item = {
                    "decision_id": answer["decision_id"],
                    "offer_id": offer["offer_id"],
                    "outcome": outcome,
                }
                items.append({**item, "value": value})
                self.sent[_told(item)] = value
        return items

    async def _until_taken(self, caller: AsyncClient, items: Sequence[dict[str, Any]]) -> None:
        """Send, and send again what was not acknowledged, for as long as it takes."""
        left = list(items)
        while left:
            path, body = "/v1/feedback/batch", {"items": left}
            if len(left) == 1:
                path, body = "/v1/feedback", left[0]
            answer = await self._post(caller, path, body)
            if answer is None:
                await asyncio.sleep(PAUSE_S)
                continue
            answers = answer["items"] if len(left) > 1 else [answer]
            for item, one in zip(left, answers, strict=True):
                self.answers[one["status"]] += 1
                if one["status"] in ("recorded", "duplicate"):
                    self.told[_told(item)] = item["value"]
                    self.recorded[_told(item)] += one["status"] == "recorded"
                else:
                    assert one.get("code") == 503, one
            refused = [i for i, one in zip(left, answers, strict=True) if one["status"] == "refused"]
            if refused:
                await asyncio.sleep(PAUSE_S)
            left = refused

    async def _post(self, caller: AsyncClient, path: str, body: Any) -> Any:
        """The answer; ``None`` if it is not known what came of the request, or it is to be sent again."""
        self._deadline.check(len(self.told))
        try:
            answer = await caller.request("POST", self.rng.choice(self.urls) + path, body)
        except Unavailable as error:
            if error.status not in (None, 503):
                raise
            self.answers[str(error.status or "unanswered")] += 1
            await asyncio.sleep(PAUSE_S)
            return None
        self.answers["answered"] += 1
        return answer


async def _says_when(response: httpx.Response) -> None:
    """Hold that who is to come again is told when."""
    assert response.status_code != 503 or "Retry-After" in response.headers


def _told(item: dict[str, Any]) -> Told:
    return item["decision_id"], item["offer_id"], item["outcome"]

"""A service that does as it is told, in place of a real one."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

Said = int | type[Exception]


@dataclass
class Service:
    """Answers decisions and feedback; what `saying` lists is said first, one request each, or for ever if `always`."""

    saying: list[Said] = field(default_factory=list)
    always: Said | None = None
    asked: list[tuple[str, Any]] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    outcomes: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body: Any = json.loads(request.content) if request.content else None
        self.asked.append((request.url.path, body))
        said = self.always or (self.saying.pop(0) if self.saying else 200)
        if not isinstance(said, int):
            raise said("told to")
        if said >= 400:
            return httpx.Response(said, json={"detail": "told to"})
        if request.url.path == "/v1/decisions":
            return httpx.Response(200, json=self._decide(body))
        if request.url.path == "/v1/feedback":
            return httpx.Response(200, json={"status": self._note(body)})
        if request.url.path == "/v1/feedback/batch":
            items = [{"code": 200, "status": self._note(item)} for item in body["items"]]
            return httpx.Response(200, json={"items": items})
        if request.url.path == "/v1/events":
            return httpx.Response(200, json={"status": "recorded"})
        if request.url.path == "/v1/events/batch":
            self.events += body["items"]
            return httpx.Response(
                200, json={"items": [{"code": 200, "status": "recorded"} for _ in body["items"]]}
            )
        return httpx.Response(200, json={"path": request.url.path})

    def _decide(self, body: dict[str, Any]) -> dict[str, Any]:
        treatment = {"treatment_id": "t", "channel": "web", "title": "Gold", "language": "en", "image": None}
        return {
            "decision_id": body["decision_id"],
            "placement": body["placement"],
            "offers": [{"offer_id": "gold", "rank": 1, "score": 2.5, "treatment": treatment, "news": 1}],
            "nothing_right_now": False,
            "degraded": [],
            "control": False,
            "feedback_until": "2026-11-22T11:00:00.000Z",
        }

    def _note(self, item: dict[str, Any]) -> str:
        name = (item["decision_id"], item["offer_id"], item["outcome"])
        self.outcomes[name] = self.outcomes.get(name, 0) + 1
        return "recorded" if self.outcomes[name] == 1 else "duplicate"


@pytest.fixture
def service() -> Service:
    """A service that does as it is told."""
    return Service()

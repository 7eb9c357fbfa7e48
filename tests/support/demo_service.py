"""A stand-in for the API's answers, behind httpx's transport: enough to see what the demo sends."""

import asyncio
import json
from collections import Counter
from datetime import date
from typing import Any

import httpx

Json = dict[str, Any]
TODAY = date(2031, 3, 9)
"""The day to which the demo's data are moved."""


class FakeService:
    """Answers decisions with the offers given, and remembers feedback.

    The first `failures` requests are answered with 503. `enough` is set after `enough_after` questions.
    """

    def __init__(self, offers: list[str], *, failures: int = 0) -> None:
        self.offers = offers
        self.failures = failures
        self.decisions: list[Json] = []
        self.feedback: list[Json] = []
        self.seen: Counter[tuple[str, str, str]] = Counter()
        self.batches = 0
        self.events: list[list[Json]] = []
        self.event_ids: set[str] = set()
        self.control: set[str] = set()
        self.puts: list[tuple[str, Json]] = []
        self.enough = asyncio.Event()
        self.enough_after = 0
        self.asked = 0

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.handle), base_url="http://demo.test")

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked += request.url.path == "/v1/decisions"
        if self.asked == self.enough_after:
            self.enough.set()
        if self.failures:
            self.failures -= 1
            return httpx.Response(503, headers={"Retry-After": "1"})
        path = request.url.path
        if request.method == "PUT":
            self.puts.append((path, json.loads(request.content)))
            return httpx.Response(200, json={})
        if path == "/v1/decisions":
            return httpx.Response(200, json=self.decide(json.loads(request.content)))
        if path.startswith("/v1/decisions/"):
            return httpx.Response(200, json={"decision_id": path.rsplit("/", 1)[1], "slots": 3})
        if path == "/v1/feedback":
            return httpx.Response(200, json={"status": self.record(json.loads(request.content))})
        if path == "/v1/events/batch":
            items = json.loads(request.content)["items"]
            self.events.append(items)
            return httpx.Response(
                200, json={"items": [{"status": self.tell(item), "code": 200} for item in items]}
            )
        if path == "/v1/feedback/batch":
            self.batches += 1
            items = json.loads(request.content)["items"]
            return httpx.Response(
                200, json={"items": [{"status": self.record(item), "code": 200} for item in items]}
            )
        return httpx.Response(404, json={"detail": path})

    def decide(self, body: Json) -> Json:
        if not body.get("dry_run"):
            self.decisions.append(body)
        factors = {"P": 0.1, "C": 1.0, "V": 9.0, "L": 1.0}
        return {
            "decision_id": f"d{len(self.decisions)}",
            "placement": body["placement"],
            "policy": {"name": "calibrated", "version": 1},
            "control": body["customer_id"] in self.control,
            "offers": [
                {"offer_id": offer, "rank": rank, "score": 0.9, "factors": factors, "probability": 0.5}
                for rank, offer in enumerate(self.offers, start=1)
            ],
            "degraded": [],
        }

    def tell(self, event: Json) -> str:
        known = event["event_id"] in self.event_ids
        self.event_ids.add(event["event_id"])
        return "refused" if event["type"] == "unknown" else "duplicate" if known else "recorded"

    def record(self, item: Json) -> str:
        self.feedback.append(item)
        key = (item["decision_id"], item["offer_id"], item["outcome"])
        self.seen[key] += 1
        return "recorded" if self.seen[key] == 1 else "duplicate"

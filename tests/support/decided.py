"""Decisions made by hand, with every field that a record must have."""

from typing import Any

from decisioning.model.decision import Decision, LoggedPolicy

NOW_MS = 1_800_000_000_000


def decision(decision_id: str = "d1", **fields: Any) -> Decision:
    """A live decision of a customer, in which nothing was offered unless ``fields`` say so."""
    made: dict[str, Any] = {
        "decision_id": decision_id,
        "customer_id": "ann",
        "placement": "home",
        "channel": "web",
        "presentation": "implicit",
        "policy": LoggedPolicy("thompson", 1),
        "control": False,
        "catalog_version": 1,
        "epoch": 0,
        "decided_at_ms": NOW_MS,
        "until_ms": NOW_MS + 3_600_000,
        "context": {},
        "limit": None,
        "slots": 1,
        "offers": (),
        "numbers": (),
        "degraded": (),
        "feedback_until": None,
        "source": "live",
    }
    return Decision(**made | fields)

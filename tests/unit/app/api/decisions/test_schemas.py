"""Requests for decisions: unknown fields and values of another type are refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.decisions.schemas import DecisionRequest

VALID: dict[str, Any] = {"customer_id": "1025", "placement": "home"}


def test_a_request_has_defaults() -> None:
    found = DecisionRequest.model_validate(VALID)
    assert (found.context, found.limit, found.dry_run, found.baseline) == ({}, None, False, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"customer_id": ""},
        {"context": []},
        {"limit": 0},
        {"limit": "1"},
        {"deadline_ms": 60_001},
        {"more": 1},
    ],
)
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        DecisionRequest.model_validate(VALID | wrong)

"""Bodies of aggregates and concepts."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.catalogue.event_schemas import AggregateBody, ConceptBody


@pytest.mark.parametrize(
    ("fields", "accepted"),
    [
        ({"window": "7d"}, True),
        ({"window": "7 days"}, False),
        ({"window": "7d\n"}, False),
        ({"window": 604800}, False),
        ({"function": "distinct"}, False),
        ({"periods": 12}, True),
        ({"periods": 13}, False),
        ({"periods": 1}, False),
        ({"min_periods": 1}, False),
        ({"where": ""}, False),
        ({"unit": "weeks"}, False),
    ],
)
def test_bodies_of_aggregates(fields: dict[str, Any], accepted: bool) -> None:
    body = {"event": "call", "function": "count"} | fields
    if accepted:
        AggregateBody.model_validate(body)
    else:
        with pytest.raises(ValidationError):
            AggregateBody.model_validate(body)


@pytest.mark.parametrize("weight", [0, -1, 1000.1, float("nan"), float("inf")])
def test_a_weight_is_above_zero(weight: float) -> None:
    with pytest.raises(ValidationError):
        ConceptBody.model_validate({"signals": [{"event": "view", "weight": weight}]})

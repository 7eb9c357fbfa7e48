"""Customers as requests write them."""

from typing import Any

import pytest
from pydantic import ValidationError

from app.api.customers.schemas import CustomerBody


@pytest.mark.parametrize("value", [None, [], {}, 10**400, float("inf"), "x" * 4097, "\x00", "\ud800", b"x"])
def test_attributes_are_texts_numbers_or_flags(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        CustomerBody.model_validate({"attributes": {"age": value}})
    assert caught.value.errors()[0]["loc"] == ("attributes", "age")

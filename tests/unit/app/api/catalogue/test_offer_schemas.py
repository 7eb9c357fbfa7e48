"""Offers as requests write them."""

from app.api.catalogue.offer_schemas import OfferBody
from decisioning.model.entities import FOREVER_MS


def test_an_offer_without_dates_is_always_live() -> None:
    stored = OfferBody(name="x", group="g").stored()
    assert (stored["starts_ms"], stored["ends_ms"]) == (0, FOREVER_MS)

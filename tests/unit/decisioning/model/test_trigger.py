"""What a trigger fires on, and the placements that it may be decided for."""

import pytest

from decisioning.model.trigger import Trigger, TriggerChannel, TriggerDelivery, TriggerOn


@pytest.mark.parametrize(
    ("on", "is_event_date"),
    [
        (TriggerOn(event="order", date="event.delivery_date"), True),
        (TriggerOn(event="order"), False),
        (TriggerOn(date="customer.birth_date"), False),
    ],
)
def test_a_date_of_an_event_is_not_one_of_a_customer(on: TriggerOn, is_event_date: bool) -> None:
    assert on.is_event_date == is_event_date


def test_one_placement_is_the_only_choice() -> None:
    to, channels = TriggerDelivery(stream="s"), (TriggerChannel("sms", 0.05), TriggerChannel("call", 4.0))
    assert Trigger("t", TriggerOn(event="order"), to, "mail").choices == (TriggerChannel("mail"),)
    assert Trigger("t", TriggerOn(event="order"), to, channels=channels).choices == channels

"""Events of Segment, Snowplow and as CloudEvents, as what they are here."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.events.shapes.cloudevents import from_cloudevent
from app.api.events.shapes.flat import flat_properties, type_of_name
from app.api.events.shapes.segment import from_segment
from app.api.events.shapes.snowplow import from_snowplow
from profiles.events.event_type import MAX_PROPERTIES, shape_problem

TRACK = {
    "type": "track",
    "messageId": "m-1",
    "userId": "1025",
    "anonymousId": "anon-7",
    "event": "Order Completed",
    "properties": {
        "total": 27.5,
        "coupon": None,
        "shipping": {"city": "Lugo", "slots": ["am", "pm"]},
        "products": [{"sku": "a"}],
        "order_id": 50_314_002_931,
    },
    "timestamp": "2026-05-01T10:00:00.123Z",
    "context": {"ip": "192.0.2.1"},
}
ORDER = {
    "event_id": "m-1",
    "customer_id": "1025",
    "type": "order_completed",
    "occurred_at": "2026-05-01T10:00:00.123Z",
    "properties": {
        "total": 27.5,
        "shipping_city": "Lugo",
        "shipping_slots": ["am", "pm"],
        "order_id": "50314002931",
    },
}
PAGE = {
    "type": "page",
    "messageId": "m-2",
    "anonymousId": "anon-7",
    "name": "Cards",
    "properties": {"path": "/cards", "referrer": "https://example.com/"},
    "originalTimestamp": "2026-05-01T10:00:00Z",
}
VISIT = {
    "event_id": "m-2",
    "customer_id": "anon-7",
    "type": "page",
    "occurred_at": "2026-05-01T10:00:00Z",
    "properties": {"name": "Cards", "path": "/cards", "referrer": "https://example.com/"},
}
IDENTIFY = {"type": "identify", "messageId": "m-3", "userId": "1025", "traits": {"plan": "gold"}}
IDENTIFIED = {"event_id": "m-3", "customer_id": "1025", "type": "identify", "properties": {"plan": "gold"}}
CLOUD = {
    "specversion": "1.0",
    "id": "A234-1234",
    "source": "/crm",
    "type": "com.example.complaint.opened",
    "subject": "1025",
    "time": "2026-05-01T10:00:00Z",
    "datacontenttype": "application/json",
    "data": {"severity": 3},
}
COMPLAINT = {
    "event_id": "/crm A234-1234",
    "customer_id": "1025",
    "type": "com.example.complaint.opened",
    "occurred_at": "2026-05-01T10:00:00Z",
    "properties": {"severity": 3},
}
VIEW = {
    "app_id": "shop",
    "event": "page_view",
    "event_name": "page_view",
    "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
    "user_id": None,
    "domain_userid": "d-1",
    "derived_tstamp": "2026-05-01 10:00:00.5",
    "page_url": "https://example.com/cards",
    "page_urlpath": "/cards",
    "contexts_com_acme_customer_1": [{"tier": "A"}, {"tier": "B"}],
}
VIEWED = {
    "event_id": "c6ef3124-b53a-4b13-a233-0088f79dcbcb",
    "customer_id": "d-1",
    "type": "page_view",
    "occurred_at": "2026-05-01 10:00:00.5Z",
    "properties": {"url": "https://example.com/cards", "path": "/cards", "com_acme_customer_tier": "A"},
}
SELF_DESCRIBING = {
    "event": "unstruct",
    "event_name": "basketAbandoned",
    "event_id": "e-9",
    "user_id": "1025",
    "collector_tstamp": "2026-05-01T10:00:00Z",
    "unstruct_event": {
        "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
        "data": {"schema": "iglu:com.acme/basket_abandoned/jsonschema/1-0-0", "data": {"worth": 40}},
    },
    "contexts": {
        "schema": "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-0",
        "data": [{"schema": "iglu:com.acme/customer/jsonschema/1-0-0", "data": {"tier": "A"}}],
    },
}
ABANDONED = {
    "event_id": "e-9",
    "customer_id": "1025",
    "type": "basket_abandoned",
    "occurred_at": "2026-05-01T10:00:00Z",
    "properties": {"worth": 40, "customer_tier": "A"},
}


@pytest.mark.parametrize(
    ("mapped", "wanted"),
    [
        (from_segment(TRACK), ORDER),
        (from_segment(PAGE), VISIT),
        (from_segment(IDENTIFY), IDENTIFIED),
        (from_cloudevent(CLOUD), COMPLAINT),
        (from_snowplow(VIEW), VIEWED),
        (from_snowplow(SELF_DESCRIBING), ABANDONED),
        (
            from_snowplow({"event": "struct", "se_category": "ads", "se_action": "click", "se_value": 2}),
            {"type": "struct", "properties": {"category": "ads", "action": "click", "value": 2}},
        ),
        (from_snowplow({"unstruct_event_com_acme_a_1": {"b": 1}}), {"properties": {"b": 1}}),
        (from_cloudevent({"id": "1", "data": "text"}), {"event_id": "1", "properties": "text"}),
        (from_segment({}), {"properties": {}}),
    ],
)
def test_an_event_is_mapped_as_documented(mapped: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert mapped == wanted


def test_a_long_id_of_a_cloudevent_is_shortened_and_stays_its_own() -> None:
    long = [from_cloudevent({"id": "x" * 200, "source": source})["event_id"] for source in ("a", "b", "a")]
    assert long[0] == long[2] != long[1]
    assert len(long[0]) <= 128


@pytest.mark.parametrize(
    "name", ["Order Completed", "order_completed", "orderCompleted", " order-completed! "]
)
def test_names_for_people_become_ids(name: str) -> None:
    assert type_of_name(name) == "order_completed"


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text("ab_", min_size=1, max_size=3)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text("ab\x00", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), JSON, max_size=5))
def test_whatever_is_nested_becomes_flat(values: dict[str, Any]) -> None:
    flat = flat_properties(values)
    assert len(flat) <= MAX_PROPERTIES
    problem = shape_problem(flat)
    assert problem is None or "NUL" in problem[1] or "names" in problem[1]


@given(JSON, st.sampled_from((from_segment, from_snowplow, from_cloudevent)))
def test_nothing_that_is_sent_breaks_a_mapping(value: Any, mapping: Any) -> None:
    names = (
        "type",
        "event",
        "properties",
        "data",
        "contexts",
        "unstruct_event",
        "contexts_a_1",
        "id",
        "event_name",
    )
    assert isinstance(mapping(dict.fromkeys(names, value)), dict)

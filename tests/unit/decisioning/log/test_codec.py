"""Records of the log in their wire form: what goes in comes out, and what others wrote is read or refused by name."""

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from pydantic_core import to_json

from decisioning.errors import LogCodecError
from decisioning.log.codec import (
    answer_of,
    decided_fields,
    decode_decision,
    encode_decision,
    outcome_fields,
    parse_decided,
    parse_entry,
    waiting_fields,
)
from decisioning.log.store_sql import decision_row
from decisioning.model.decision import (
    CapacityUnit,
    Contact,
    CustomerSnapshot,
    DecidedOffer,
    Decision,
    DecisionContacts,
    LoggedDecision,
    LoggedFactors,
    LoggedPolicy,
    OfferContact,
    Overrun,
    PolicyFailure,
    RenderedObjection,
    RenderedScript,
    RenderedStep,
    RenderedTreatment,
    SnapshotSuppression,
    SnapshotWithheld,
)
from decisioning.model.degraded import DegradedReason
from decisioning.model.outcome import Outcome
from decisioning.model.position import StreamPosition
from tests.support import earlier_log as earlier
from tests.support.decided import decision as made_by_hand

AT = StreamPosition("5-1")
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6)
NAMES = st.text("abcé_", min_size=1, max_size=6)
NUMBERS = st.integers(0, 2**31)
TIMES = st.integers(0, 4_000_000_000_000)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=3,
)
UNSET = st.just(msgspec.UNSET)
POLICIES = st.builds(LoggedPolicy, NAMES, st.integers(1, 99))
SCRIPTS = st.builds(
    RenderedScript,
    st.lists(st.builds(RenderedStep, TEXTS, TEXTS), max_size=2).map(tuple),
    st.lists(st.builds(RenderedObjection, TEXTS, TEXTS), max_size=2).map(tuple),
)
TREATMENTS = st.builds(
    RenderedTreatment,
    *(TEXTS, TEXTS, TEXTS, TEXTS, TEXTS),
    *(st.none() | TEXTS, st.none() | SCRIPTS),
    *(UNSET | TEXTS, UNSET | TEXTS, UNSET | TEXTS),
    UNSET | st.dictionaries(TEXTS, TEXTS | st.integers(-9, 9) | st.booleans(), max_size=2),
)
FACTORS = st.builds(LoggedFactors, FLOATS, FLOATS, FLOATS, FLOATS)
OFFERS = st.builds(
    DecidedOffer,
    NAMES,
    st.integers(1, 9),
    st.none() | FLOATS,
    st.none() | FACTORS,
    st.none() | FLOATS,
    st.none() | TREATMENTS,
)


def several(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, max_size=3).map(tuple)


CONTACTS = st.builds(
    DecisionContacts, TIMES, st.none() | TIMES, several(st.builds(OfferContact, NAMES, NAMES, st.booleans()))
)
SNAPSHOTS = st.builds(
    CustomerSnapshot,
    known=st.booleans(),
    attributes=st.dictionaries(NAMES, SCALARS, max_size=3),
    indicators=st.dictionaries(NAMES, FLOATS, max_size=3),
    interests=st.none() | st.dictionaries(NAMES, FLOATS, max_size=3),
    holdings=st.none() | several(NAMES),
    consents=st.dictionaries(NAMES, several(NAMES), max_size=2),
    history=st.none() | several(st.builds(Contact, NUMBERS, TIMES, NAMES, NAMES, NAMES, NAMES)),
    suppressions=st.none() | several(st.builds(SnapshotSuppression, NAMES, TEXTS, st.none() | TIMES, TIMES)),
    exhausted=several(NUMBERS),
    unlikely=several(st.tuples(NUMBERS, FLOATS)),
    withheld=several(st.builds(SnapshotWithheld, NUMBERS, FLOATS, FLOATS, FLOATS, NAMES)),
)
DECISIONS = st.builds(
    Decision,
    decision_id=NAMES,
    customer_id=NAMES,
    placement=NAMES,
    channel=st.none() | NAMES,
    presentation=NAMES,
    policy=POLICIES,
    control=st.booleans(),
    logged_group=st.none() | NAMES,
    catalog_version=NUMBERS,
    epoch=TIMES,
    decided_at_ms=TIMES,
    until_ms=TIMES,
    context=st.dictionaries(TEXTS, JSON, max_size=3),
    limit=st.none() | st.integers(1, 9),
    slots=st.integers(1, 9),
    offers=several(OFFERS),
    numbers=several(NUMBERS),
    expected=st.none() | several(FLOATS),
    facts=st.none() | st.dictionaries(NAMES, SCALARS, max_size=3),
    nothing_right_now=st.none() | st.booleans(),
    segments=st.none() | several(NAMES),
    degraded=several(st.sampled_from(DegradedReason)),
    feedback_until=st.none() | TEXTS,
    source=st.sampled_from(["live", "history"]),
    contacts=st.none() | CONTACTS,
    customer_snapshot=st.none() | SNAPSHOTS,
    scored_by=st.none() | POLICIES,
    caller_choice=st.none() | several(NUMBERS),
    overrun=st.none() | st.builds(Overrun, FLOATS, FLOATS, st.integers(0, 9)),
    failure=st.none() | st.builds(PolicyFailure, NAMES, NAMES),
    default_offers=st.none() | several(OFFERS),
    capacity=st.none() | several(st.builds(CapacityUnit, NAMES, NAMES, NAMES, NAMES)),
)
OUTCOMES = st.builds(
    Outcome,
    bucket=st.just(3),
    position=st.just(AT),
    decision_id=NAMES,
    decided_at_ms=TIMES,
    offer_id=NAMES,
    offer=NUMBERS,
    outcome=st.sampled_from(["presented", "clicked", "accepted", "rejected"]),
    value=st.none() | FLOATS,
    at_ms=TIMES,
    recorded_ms=TIMES,
    late=st.booleans(),
    reward=st.none() | FLOATS,
    base_propensity=st.floats(0, 1, width=32),
    policy=NAMES,
    placement=NAMES,
    estimate=FLOATS,
    worth=FLOATS,
    facts=st.dictionaries(NAMES, SCALARS, max_size=3),
)


def fields_of(parts: list[Any]) -> dict[bytes, bytes]:
    """An entry as Redis gives it back."""
    as_bytes = [part.encode() if isinstance(part, str) else part for part in parts]
    return dict(zip(as_bytes[::2], as_bytes[1::2], strict=True))


@given(DECISIONS)
def test_a_decision_comes_back_as_it_was(decision: Decision) -> None:
    assert decode_decision(encode_decision(decision)) == decision


@given(DECISIONS)
def test_the_order_in_which_postgres_keeps_keys_changes_nothing(decision: Decision) -> None:
    """``jsonb`` sorts keys, so that the answer must not depend on their order."""
    kept = json.dumps(json.loads(encode_decision(decision)), sort_keys=True).encode()
    assert to_json(answer_of(decode_decision(kept))) == to_json(answer_of(decision))


@given(
    DECISIONS,
    st.lists(st.tuples(NUMBERS, st.floats(0, 1, width=32) | st.just(math.nan), FLOATS, FLOATS), max_size=4),
    st.booleans(),
)
def test_an_entry_and_a_row_come_back_as_they_were(
    decision: Decision, candidates: list[tuple[int, float, float, float]], has_factors: bool
) -> None:
    columns = np.array(candidates).reshape(-1, 4)
    numbers, base_propensities = columns[:, 0].astype(np.uint32), columns[:, 1].astype(np.float32)
    factors = columns[:, 2:].T.copy() if has_factors and candidates else None
    logged = LoggedDecision(3, AT, decision, numbers, base_propensities, factors)
    row = decision_row(logged)
    for again in (
        parse_entry(3, AT, fields_of(decided_fields(logged))),
        parse_decided(3, AT, row[7].encode(), row[8], row[9], row[10] or b""),
    ):
        assert isinstance(again, LoggedDecision)
        assert (again.bucket, again.position, again.decision) == (3, AT, decision)
        assert again.candidates.tobytes() == numbers.tobytes()
        assert again.base_propensities.tobytes() == base_propensities.tobytes()
        assert (again.factors is None) == (factors is None)
        assert factors is None or np.array_equal(again.factors, factors)  # type: ignore[arg-type]  # as checked above


@given(OUTCOMES)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    (again,) = parse_entry(3, AT, fields_of(outcome_fields(outcome)))  # type: ignore[misc]  # an outcome gives a list
    assert np.float32(again.base_propensity) == np.float32(outcome.base_propensity)
    assert structs.replace(again, base_propensity=outcome.base_propensity) == outcome


def test_what_does_not_apply_is_left_out() -> None:
    """Statements in SQL ask whether such keys are there at all."""
    bare = json.loads(encode_decision(made_by_hand()))
    absent = {
        "capacity",
        "scored_by",
        "wanted",
        "over_budget",
        "failed",
        "defaults",
        "group",
        "seen",
        "contact",
    }
    assert not absent & bare.keys()
    assert {"limit", "feedback_until", "offers", "numbers", "degraded", "context"} < bare.keys()
    full = made_by_hand(
        capacity=(), default_offers=(), facts={}, segments=(), customer_snapshot=CustomerSnapshot()
    )
    assert {"capacity", "defaults", "facts", "segments", "seen"} < json.loads(encode_decision(full)).keys()


def test_the_public_answer_has_its_keys_in_order() -> None:
    decision = made_by_hand(offers=(DecidedOffer("gold", 1),), degraded=(DegradedReason.POLICY_SLOW,))
    answer = answer_of(decision)
    assert [*answer] == [
        "decision_id",
        "placement",
        "policy",
        "control",
        "offers",
        "nothing_right_now",
        "degraded",
        "feedback_until",
    ]
    assert [*answer["offers"][0]] == ["offer_id", "rank", "score", "factors", "probability", "treatment"]
    assert answer["degraded"] == ["policy_slow"]
    assert answer["policy"] == {"name": "thompson", "version": 1}


def test_the_defaults_are_the_answer_where_nothing_was_right() -> None:
    decision = made_by_hand(default_offers=(DecidedOffer("gold", 1),), nothing_right_now=True)
    assert [offer["offer_id"] for offer in answer_of(decision)["offers"]] == ["gold"]


def test_what_a_later_version_adds_is_skipped_and_archived() -> None:
    later = earlier.HEADER.replace(b'"control":', b'"mood":{"a":[1]},"control":')
    logged = parse_entry(0, AT, earlier.DECIDED | {b"h": later, b"zz": b"1"})
    assert isinstance(logged, LoggedDecision)
    assert logged.decision == decode_decision(earlier.HEADER)
    assert json.loads(decision_row(logged)[7])["mood"] == {"a": [1]}


@pytest.mark.parametrize(
    ("source", "control", "group", "expected"),
    [
        ("live", False, "canary", "canary"),
        ("live", True, None, "control"),
        ("live", False, None, "champion"),
        ("history", False, None, "imported"),
    ],
)
def test_early_records_tell_their_group(source: str, control: bool, group: str | None, expected: str) -> None:
    assert made_by_hand(source=source, control=control, logged_group=group).group == expected


def test_early_records_lack_what_is_logged_now() -> None:
    header = json.loads(earlier.HEADER)
    for name in ("group", "expected", "facts", "nothing_right_now", "segments", "contact", "seen"):
        del header[name]
    for offer in header["offers"]:
        del offer["treatment"]["script"]
    decision = decode_decision(to_json(header))
    assert decision.group == "champion"
    assert answer_of(decision)["nothing_right_now"] is False
    assert decision.offer_contacts() == (OfferContact(), OfferContact())
    one = np.array([1, 5], np.uint32), np.array([0.5, math.nan], np.float32)
    fields = waiting_fields(LoggedDecision(0, AT, decision, *one))
    assert fields["o:gold"] == "1 0.5 c : phone"
    assert fields["e0"] == np.array([math.nan, 1.0, math.nan, 1.0], "<f8").tobytes()
    assert "f" not in fields


@pytest.mark.parametrize(
    "fields",
    [
        earlier.DECIDED | {b"h": b"{"},
        earlier.DECIDED | {b"h": b"[]"},
        earlier.DECIDED | {b"h": earlier.HEADER.replace(b'"slots":2', b'"slots":"two"')},
        earlier.DECIDED | {b"h": earlier.HEADER.replace(b'"source":"live"', b'"origin":"live"')},
        earlier.DECIDED | {b"h": b"\xff"},
        earlier.DECIDED | {b"c": b"123"},
        {name: value for name, value in earlier.DECIDED.items() if name != b"c"},
        earlier.CLICKED | {b"at": b"soon"},
        earlier.EXPIRED | {b"o": b"gold 1"},
        earlier.EXPIRED | {b"f": b"{"},
        {b"t": b"mystery"},
        {b"id": b"d1"},
    ],
)
def test_a_broken_record_is_refused_by_name(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(LogCodecError, match=r"5-1 of bucket 3"):
        parse_entry(3, AT, fields)


def test_closed_records_name_offers_in_one_field() -> None:
    entry = {name: value for name, value in earlier.EXPIRED.items() if name != b"o"}
    as_now = parse_entry(0, AT, entry | {b"os": earlier.EXPIRED[b"o"]})
    assert as_now == parse_entry(0, AT, earlier.EXPIRED)
    assert parse_entry(0, AT, entry | {b"os": b""}) == []


def test_an_outcome_without_what_came_later() -> None:
    entry = {name: value for name, value in earlier.CLICKED.items() if name not in (b"e", b"f")}
    (outcome,) = parse_entry(0, AT, entry)  # type: ignore[misc]  # an outcome gives a list
    full = parse_entry(0, AT, earlier.CLICKED)
    assert math.isnan(outcome.estimate)
    assert [structs.replace(outcome, estimate=0.5, worth=1.0)] == full

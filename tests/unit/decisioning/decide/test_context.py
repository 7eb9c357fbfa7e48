"""The values that the steps hand on: offers that are left out of a second try.

That reasons of an answer are noted once is in ``test_answer.py``.
"""

from typing import Any

import numpy as np
import pytest

from decisioning.decide.context import EligibleOffers, EvaluatedRequest, without_capacity, without_refused
from decisioning.decide.eligibility import allowed
from decisioning.log.ports import DecideReply
from decisioning.model.entities import ContactPolicy
from tests.support.shop import catalogue_with, inputs_of, offer

LIMITED = {"once": ContactPolicy("once", "Once", 1, 60, applies_to="o2")}


def eligible_of(limits: dict[str, ContactPolicy] | None = None, **inputs: Any) -> EligibleOffers:
    """Three offers with the numbers 11, 12 and 13; ``o13`` is transactional."""
    offers = [offer(11), offer(12, offer_id="o2"), offer(13, transactional=True)]
    given = inputs_of(catalogue_with(offers, contact_policies=limits or {}), **inputs)
    return EligibleOffers(EvaluatedRequest({}, given.evaluation), given, allowed(given))


def test_an_offer_without_capacity_is_left_out_and_explained_by_its_number() -> None:
    before = eligible_of(exhausted=frozenset({11}))
    after = without_capacity(before, 1)
    assert after.available.tolist() == [False, False, True]
    assert after.inputs.exhausted == {11, 12}
    assert np.array_equal(allowed(after.inputs), after.available)  # eligibility by itself says the same


def test_the_offers_of_the_first_try_are_left_as_they_were() -> None:
    before = eligible_of(LIMITED)
    without_capacity(before, 0)
    without_refused(before, DecideReply(False, reached=("o11",), lost=True))
    assert before.available.tolist() == [True, True, True]
    assert before.inputs.exhausted == frozenset()


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        (DecideReply(False, reached=("o11", "o13")), [False, True, False]),
        (DecideReply(False, lost=True), [True, False, True]),
        (DecideReply(False, reached=("o11",), lost=True), [False, False, True]),
    ],
)
def test_offers_are_refused_whose_limit_is_reached_or_cannot_be_checked(
    reply: DecideReply, left: list[bool]
) -> None:
    assert without_refused(eligible_of(LIMITED), reply).available.tolist() == left


def test_a_customers_own_limit_cannot_be_checked_either_but_binds_no_transactional_offer() -> None:
    eligible = eligible_of(customer={"max_contacts_per_day": 5})
    assert without_refused(eligible, DecideReply(False, lost=True)).available.tolist() == [False, False, True]


def test_an_offer_that_was_not_available_does_not_become_so() -> None:
    eligible = eligible_of(exhausted=frozenset({12}))
    assert without_refused(eligible, DecideReply(False)).available.tolist() == [True, False, True]

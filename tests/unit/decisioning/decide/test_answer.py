"""The record of a decision, and the answer that is its public part."""

import math
from dataclasses import replace
from typing import Any

from msgspec import structs

from bandits.policy import PolicyKey
from decisioning.decide.answer import decision_record, default_offers, defaults_record
from decisioning.decide.context import DecisionContext, DecisionInputs, EvaluatedRequest
from decisioning.decide.eligibility import EligibilityInputs, eligible_defaults
from decisioning.decide.policy_runner import Assignment, PolicyResult, PolicyRunner
from decisioning.learning.replica import ArmReplica
from decisioning.log.codec import answer_of, decode_decision, encode_decision
from decisioning.model.decision import OfferContact, PolicyFailure
from decisioning.model.degraded import DegradedReason
from decisioning.model.entities import ContactLimit, Treatment
from decisioning.policies.roster import Roster
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer, selection_context_of

ENGLISH = Treatment("en", "web", "en", "Hello", "")
SPANISH = Treatment("es", "web", "es", "Hola {{ customer.city }}", "", fallbacks={"customer.city": "you"})
SHOP = catalogue_with(
    [offer(1), offer(2, treatments=(ENGLISH,))],
    {"slots": 2, "default_offers": ("o2",), "reward_window_s": 60},
)


def context_of(inputs: EligibilityInputs, group: Any = "champion", **request: Any) -> DecisionContext:
    """A request as it came in."""
    arguments: dict[str, Any] = {"customer_id": "c", "placement": "home", "context": {}} | request
    assignment = Assignment(PolicyKey("propensity@1"), group)
    return DecisionContext(
        DecisionInputs(**arguments), inputs.catalogue, inputs.view, "d", NOW_MS, assignment, 2
    )


def run(inputs: EligibilityInputs, context: DecisionContext, **fields: Any) -> PolicyResult:
    """Return the selection of the policy ``propensity``."""
    roster = Roster()
    runner = PolicyRunner(ArmReplica(roster), roster, budget_ms=math.inf)
    return runner.run(context.assignment, selection_context_of(inputs, **fields))


async def test_a_record_holds_the_decision_and_reads_back_as_it_was() -> None:
    inputs = inputs_of(SHOP)
    context = context_of(inputs, context={"reason": "bill"})
    evaluated = EvaluatedRequest({"customer.age": 4}, inputs.evaluation)
    record = decision_record(context, evaluated, inputs, run(inputs, context))
    assert record.numbers == (2, 1)
    assert [(o.offer_id, o.rank, o.score) for o in record.offers] == [
        ("o2", 1, record.offers[0].score),
        ("o1", 2, record.offers[1].score),
    ]
    assert record.contacts is not None
    assert record.contacts.offers == (OfferContact("cards", "grow", True),) * 2
    assert (record.until_ms, record.group, record.source) == (NOW_MS + 60_000, "champion", "live")
    assert {record.failure, record.overrun, record.caller_choice, record.capacity} == {None}
    assert decode_decision(encode_decision(record)) == record


async def test_the_answer_is_the_public_part_in_a_fixed_order() -> None:
    inputs = inputs_of(SHOP)
    context = context_of(inputs)
    record = decision_record(context, EvaluatedRequest({}, inputs.evaluation), inputs, run(inputs, context))
    answer = answer_of(record)
    assert list(answer) == [
        *("decision_id", "placement", "policy", "control"),
        *("offers", "nothing_right_now", "degraded", "feedback_until"),
    ]
    assert answer["policy"] == {"name": "propensity", "version": 1}
    assert list(answer["offers"][0]) == [
        *("offer_id", "rank", "score", "factors", "probability", "treatment"),
    ]


async def test_the_callers_choice_is_logged_as_the_callers_with_the_policy_that_scored_it() -> None:
    inputs = inputs_of(SHOP)
    context = context_of(inputs, "caller")
    result = run(inputs, context, caller_choice=(0,))
    record = decision_record(context, EvaluatedRequest({}, inputs.evaluation), inputs, result)
    assert (record.policy.key, record.scorer) == ("caller@1", "propensity@1")
    assert record.caller_choice == record.numbers == (1,)


async def test_a_failure_is_logged_with_the_policy_that_should_have_decided() -> None:
    inputs = inputs_of(SHOP)
    context = context_of(inputs, "caller")
    context.degrade(DegradedReason.BASELINE_MISSING)
    context.degrade(DegradedReason.BASELINE_MISSING)
    record = decision_record(context, EvaluatedRequest({}, inputs.evaluation), inputs, run(inputs, context))
    assert record.failure == PolicyFailure("propensity@1", "baseline_missing")
    assert answer_of(record)["degraded"] == ["baseline_missing"]


async def test_defaults_have_no_score_and_take_no_feedback() -> None:
    inputs = inputs_of(SHOP)
    context = context_of(inputs)
    evaluated = EvaluatedRequest({}, inputs.evaluation)
    answer = answer_of(defaults_record(context, evaluated, inputs, eligible_defaults(inputs)))
    (default,) = answer["offers"]
    assert (default["offer_id"], default["score"], default["probability"]) == ("o2", None, None)
    assert answer["policy"] == {"name": "default", "version": 1}
    assert answer["feedback_until"] is None
    assert not answer["nothing_right_now"]


async def test_default_offers_fill_the_slots_behind_what_was_chosen_without_what_is_excluded() -> None:
    """Promised: ``fill_with_defaults`` adds defaults to a short answer, by the rules that hold between its offers."""
    offers = [
        offer(1),
        offer(2, not_with=("o1",)),
        offer(3, contact_limits=(ContactLimit(1, 60),)),
        offer(4),
        offer(5, group="loans"),
        offer(6, group="loans"),
    ]
    placement = {
        "slots": 4,
        "default_offers": ("o1", "o2", "o3", "o5", "o6", "o4"),
        "fill_with_defaults": True,
        "max_per_group": 1,
    }
    inputs = inputs_of(catalogue_with(offers, placement))
    context = replace(context_of(inputs), slots=4)
    evaluated = EvaluatedRequest({}, inputs.evaluation)
    available = eligible_defaults(inputs)
    filled = default_offers(context, evaluated, inputs, available, chosen=[0])
    assert [(o.offer_id, o.rank, o.score, o.probability) for o in filled] == [("o5", 2, None, None)]
    alone = default_offers(context, evaluated, inputs, available)
    assert [(o.offer_id, o.rank) for o in alone] == [("o1", 1), ("o5", 2)]

    record = decision_record(context, evaluated, inputs, run(inputs, context))
    answer = answer_of(structs.replace(record, default_offers=filled))
    assert [o["offer_id"] for o in answer["offers"]][-1] == "o5"
    assert len(answer["offers"]) == len(record.offers) + 1


async def test_treatments_are_in_the_language_of_the_request_else_of_the_customer() -> None:
    shop = catalogue_with([offer(1, treatments=(ENGLISH, SPANISH))])

    def title(attributes: dict[str, Any], **context: str) -> str:
        inputs = inputs_of(shop, customer=attributes)
        request = context_of(inputs, context=context)
        record = decision_record(
            request, EvaluatedRequest({}, inputs.evaluation), inputs, run(inputs, request)
        )
        treatment = record.offers[0].treatment
        assert treatment is not None
        return treatment.title

    assert title({}) == "Hello"
    assert title({"language": "es", "city": "Ana"}) == "Hola Ana"
    assert title({"language": "es"}, language="en") == "Hello"
    assert title({}, language="es-MX") == "Hola you"

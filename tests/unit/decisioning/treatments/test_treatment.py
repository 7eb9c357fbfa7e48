"""Treatments: what can be saved, and what is said to whom in which language."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.kinds import Segment
from decisioning.decide.answer import TextSource, treatment_of
from decisioning.decide.facts import facts_of
from decisioning.errors import Invalid, InvalidRule
from decisioning.model.decision import RenderedTreatment
from decisioning.model.entities import (
    Group,
    Objection,
    Offer,
    Placement,
    Script,
    ScriptStep,
    Treatment,
)
from decisioning.treatments.treatment import check_treatment, searchable_text
from profiles.customer import Customer
from rules.evaluation import evaluate
from rules.vocabulary import Attribute, Vocabulary
from storage.clock import to_datetime

ATTRIBUTES = {
    a.path: a
    for a in (
        Attribute("customer.first_name", "string"),
        Attribute("customer.tenure", "number"),
        Attribute("customer.interests.coffee", "number"),
        Attribute("customer.language", "string"),
        Attribute("context.reason", "string"),
        Attribute("offer.colour", "string"),
    )
}
VOCABULARY = Vocabulary.of(ATTRIBUTES.values())
FALLBACKS = {"customer.first_name": "there"}
PLAIN = Treatment("en", "agent", "en", "A title", "A message")
CALL = Treatment(
    "call",
    "agent",
    "en",
    "{{ offer.name }} for {{ customer.first_name | title }}",
    "",
    fallbacks=FALLBACKS,
    script=Script(
        (
            ScriptStep("hello", "Hello {{ customer.first_name }}."),
            ScriptStep(
                "loyal",
                "Thanks for {{ customer.tenure | default('many') }} years.",
                "customer.tenure > 2.0",
            ),
            ScriptStep("cancel", "Ask what went wrong.", "context.reason == 'cancel'"),
            ScriptStep("gold", "It is made of gold.", "offer.colour == 'gold'"),
            ScriptStep("never", "Nobody hears this.", "!customer.known && customer.known"),
        ),
        (
            Objection(
                "The price is too high",
                "It costs {{ offer.value | round }} a year, {{ customer.first_name }}.",
            ),
        ),
    ),
)


def catalogue(*treatments: Treatment, attributes: Mapping[str, Any] | None = None) -> Catalogue:
    offer = Offer(
        "o", 7, "Gold card", "cards", 12.5, treatments=treatments, attributes=attributes or {"colour": "gold"}
    )
    return Catalogue(
        version=1,
        groups={"cards": Group("cards", "Cards", "grow")},
        offers={"o": offer},
        placements={"desk": Placement("desk", "agent")},
        attributes=ATTRIBUTES,
        segments={"loyal": Segment("loyal", "customer.tenure > 2.0")},
    )


def said(
    *treatments: Treatment,
    customer: Mapping[str, Any] | None = None,
    context: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Mapping[str, Any]:
    """Return the treatment of the only offer for a customer with these attributes (an unknown one without)."""
    view = catalogue(*treatments, attributes=attributes).view("desk")
    known = Customer("c", dict(customer or {}), {}, (), {}, {}, known=customer is not None)
    facts = facts_of(known, context or {}, view.placement)
    speech = TextSource(context or {}, known, evaluate(view.plan, facts, to_datetime(0)))
    answer: Mapping[str, Any] = json.loads(msgspec.json.encode(treatment_of(view, 0, speech)))
    return answer


def steps(answer: Mapping[str, Any]) -> list[str]:
    return [step["step_id"] for step in answer["script"]["steps"]]


def test_a_plain_treatment_is_made_once() -> None:
    view = catalogue(PLAIN).view("desk")
    rendered = view.treatments[0][0].rendered
    assert rendered == RenderedTreatment("en", "agent", "en", "A title", "A message")
    unknown = Customer.unknown("c")
    evaluation = evaluate(view.plan, facts_of(unknown, {}, view.placement), to_datetime(0))
    assert treatment_of(view, 0, TextSource({}, unknown, evaluation)) is rendered


def test_a_treatment_has_a_button_with_a_link_a_legal_text_and_what_the_front_end_needs() -> None:
    full = replace(
        PLAIN,
        link="/cards/gold?from=home",
        button="Get it, {{ customer.first_name }}",
        legal="{{ offer.name }} is for new customers only.",
        attributes={"colour": "gold", "badge": 3},
        fallbacks={"customer.first_name": "you"},
    )
    answer = said(full, customer={"first_name": "Ann"})
    assert answer["link"] == "/cards/gold?from=home"
    assert answer["button"] == "Get it, Ann"
    assert answer["legal"].endswith("is for new customers only.")
    assert answer["attributes"] == {"colour": "gold", "badge": 3}
    assert said(full)["button"] == "Get it, you"
    assert not said(PLAIN).keys() & {"link", "button", "legal", "attributes"}


@pytest.mark.parametrize(
    "link", ["https://example.com/a?b=c#d", "/a", "#top", "?q=1", "tel:+34600", "bank://pay"]
)
def test_links_that_lead_somewhere_are_taken(link: str) -> None:
    check_treatment(replace(PLAIN, link=link), VOCABULARY)


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JavaScript://%0aalert(1)",
        "data:text/html,x",
        "gold",
        "/a b",
        "",
        "/a\n",
        "\\\\evil",
    ],
)
def test_links_that_browsers_would_run_or_that_lead_nowhere_are_refused(link: str) -> None:
    with pytest.raises(Invalid, match="must be an address") as caught:
        check_treatment(replace(PLAIN, link=link), VOCABULARY)
    assert caught.value.field == "link"


def test_a_script_says_what_holds_with_variables_filled_in() -> None:
    answer = said(CALL, customer={"first_name": "ann", "tenure": 3.0}, context={"reason": "cancel"})
    assert answer["title"] == "Gold card for Ann"
    assert answer["script"] == {
        "steps": [
            {"step_id": "hello", "text": "Hello ann."},
            {"step_id": "loyal", "text": "Thanks for 3 years."},
            {"step_id": "cancel", "text": "Ask what went wrong."},
            {"step_id": "gold", "text": "It is made of gold."},
        ],
        "objections": [{"objection": "The price is too high", "answer": "It costs 12 a year, ann."}],
    }


def test_conditions_choose_the_steps_and_what_is_missing_does_not_hold() -> None:
    assert steps(said(CALL)) == ["hello", "gold"]
    assert steps(said(CALL, customer={"tenure": 2.0})) == ["hello", "gold"]
    assert steps(said(CALL, customer={"tenure": 2.5})) == ["hello", "loyal", "gold"]
    assert steps(said(CALL, context={"reason": "cancel"})) == ["hello", "cancel", "gold"]
    assert steps(said(CALL, attributes={"colour": "red"})) == ["hello"]


def test_conditions_may_name_segments() -> None:
    loyal = replace(PLAIN, script=Script((ScriptStep("loyal", "Thanks.", "segment.loyal"),)))
    assert steps(said(loyal, customer={"tenure": 2.5})) == ["loyal"]
    assert steps(said(loyal, customer={"tenure": 1.5})) == []
    assert steps(said(loyal)) == []


def test_fallbacks_stand_for_customers_of_whom_nothing_is_known() -> None:
    answer = said(CALL)
    assert answer["title"] == "Gold card for there"
    assert answer["script"]["steps"][0]["text"] == "Hello there."


def test_a_script_may_use_what_the_offer_has() -> None:
    treatment = replace(
        PLAIN, title="{{ offer.colour }} {{ offer.goal }} {{ offer.group }} {{ offer.offer_id }}"
    )
    assert said(treatment)["title"] == "gold grow cards o"
    with pytest.raises(InvalidRule, match=r"offer\.colour may have no value"):
        catalogue(treatment, attributes={"size": "big"})


def in_languages(*languages: str) -> list[Treatment]:
    return [replace(PLAIN, treatment_id=f"{i}-{tag}", language=tag) for i, tag in enumerate(languages)]


@pytest.mark.parametrize(
    ("asked", "own", "expected"),
    [
        (None, None, "en"),
        ("es", None, "es"),
        (None, "es", "es"),
        ("de", "es", "de"),
        ("xx", "es", "es"),
        ("xx", "yy", "en"),
        ("ES", None, "es"),
        ("es-MX", None, "es-MX"),
        ("es-AR", None, "es"),
        ("pt", None, "pt-BR"),
        (17, None, "en"),
        (["es"], "de", "de"),
        ("", None, "en"),
    ],
)
def test_the_language_is_the_requests_then_the_customers_then_the_first(
    asked: Any, own: str | None, expected: str
) -> None:
    treatments = in_languages("en", "es", "es-MX", "de", "pt-BR")
    customer = None if own is None else {"language": own}
    context = {} if asked is None else {"language": asked}
    assert said(*treatments, customer=customer, context=context)["language"] == expected


@pytest.mark.parametrize(
    ("treatment", "field", "words"),
    [
        (replace(PLAIN, title="{{ customer.frist_name }}"), "title", "did you mean customer.first_name?"),
        (
            replace(PLAIN, title="{{ customer.first_name }}"),
            "title",
            "declare a fallback for customer.first_name",
        ),
        (replace(PLAIN, message="a\nb {{ 1 }}"), "message", "line 2, column 3"),
        (replace(PLAIN, message="{% if x %}"), "message", "not taken"),
        (replace(PLAIN, message="{{ ''.__class__.__mro__ }}"), "message", "only variables"),
        (replace(PLAIN, message="{{ customer.__class__ }}"), "message", "there is no variable"),
        (replace(PLAIN, message="{{ offer.__init__ }}"), "message", "there is no variable"),
        (replace(PLAIN, message="{{ offer.treatments }}"), "message", "there is no variable"),
        (
            replace(PLAIN, fallbacks={"customer.firstname": ""}),
            "fallbacks.customer.firstname",
            "did you mean",
        ),
        (
            replace(PLAIN, fallbacks={"customer.first_name": "{{ x }}"}),
            "fallbacks.customer.first_name",
            "plain text",
        ),
        (
            replace(PLAIN, script=Script((ScriptStep("a", "{{ customer.tenure }}"),))),
            "script.steps.a.text",
            "may have no value",
        ),
        (
            replace(PLAIN, script=Script((ScriptStep("a", "x"), ScriptStep("a", "y")))),
            "script.steps",
            "'a' is there twice",
        ),
        (
            replace(PLAIN, script=Script((), (Objection("a", "x"), Objection("a", "y")))),
            "script.objections",
            "'a' is there twice",
        ),
        (
            replace(PLAIN, script=Script((), (Objection("{{ no }}", "x"),))),
            "script.objections.0.objection",
            "not a variable",
        ),
        (
            replace(PLAIN, script=Script((), (Objection("x", "{{ no.no }}"),))),
            "script.objections.0.answer",
            "not a variable",
        ),
        (
            replace(PLAIN, script=Script(tuple(ScriptStep(str(i), "x") for i in range(51)))),
            "script.steps",
            "at most 50",
        ),
        (
            replace(PLAIN, script=Script((), tuple(Objection(str(i), "x") for i in range(51)))),
            "script.objections",
            "at most 50",
        ),
    ],
)
def test_what_cannot_be_said_cannot_be_saved(treatment: Treatment, field: str, words: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_treatment(treatment, VOCABULARY)
    assert refused.value.field == field
    assert words in str(refused.value)
    with pytest.raises(Invalid) as published:
        catalogue(treatment)
    assert published.value.field == f"offers.o.treatments.en.{field}"


def test_a_mistake_inside_a_text_has_a_place_and_a_suggestion() -> None:
    with pytest.raises(InvalidRule) as refused:
        check_treatment(replace(PLAIN, message="Hi\n you, {{ customer.frist_name }}"), VOCABULARY)
    assert (refused.value.line, refused.value.column) == (2, 10)
    assert refused.value.suggestion == "did you mean customer.first_name?"


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("customer.tenur > 2.0", "write customer.tenure > 2.0"),
        ("customer.tenure", "a condition must be true or false"),
        ("", "empty"),
    ],
)
def test_conditions_of_steps_are_checked_like_all_rules(when: str, words: str) -> None:
    with pytest.raises(InvalidRule) as refused:
        catalogue(replace(PLAIN, script=Script((ScriptStep("a", "x", when),))))
    assert refused.value.field == "offers.o.treatments.en.script.steps.a.when"
    assert words in str(refused.value)


def test_a_default_or_a_fallback_makes_a_variable_certain() -> None:
    check_treatment(replace(PLAIN, title="{{ customer.tenure | round | default('some') }}"), VOCABULARY)
    check_treatment(
        replace(PLAIN, title="{{ customer.tenure }}", fallbacks={"customer.tenure": ""}), VOCABULARY
    )
    check_treatment(replace(PLAIN, title="{{ offer.colour }}"), VOCABULARY)


@given(
    customer=st.dictionaries(
        st.sampled_from(["first_name", "tenure", "language", "known", "interests"]),
        st.none() | st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.text()),
    ),
    context=st.dictionaries(
        st.sampled_from(["reason", "language"]), st.none() | st.text() | st.integers() | st.lists(st.none())
    ),
)
def test_there_is_something_to_say_to_everybody(customer: dict[str, Any], context: dict[str, Any]) -> None:
    answer = said(CALL, *in_languages("es"), customer=customer, context=context)
    assert answer["title"]
    if answer["script"] is not None:
        assert all(step["text"] for step in answer["script"]["steps"])


def test_texts_are_found_by_their_fallbacks() -> None:
    source = "Hi {{ customer.first_name }}, {{ customer.tenure }}, {{ offer.name | default('it') }}"
    assert searchable_text(source, FALLBACKS) == "Hi there, …, it"
    assert searchable_text("{% broken", {}) == "{% broken"

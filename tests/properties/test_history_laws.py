"""Rules over the customer's own history against a plain list of what happened."""

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from decisioning.contact.history import outcome_contact
from decisioning.contact.own_history import OwnHistory
from decisioning.decide.answer import customer_snapshot
from decisioning.decide.eligibility import allowed
from decisioning.model.decision import Contact
from decisioning.model.entities import Rule
from decisioning.model.outcome import DeclaredOutcome
from rules.history import MAX_WITHIN_S, VERBS, HistoryCall, parse_call
from tests.support.shop import NOW_MS, catalogue_with, inputs_of, offer

OFFERS = [offer(1), offer(2), offer(3, group="loans"), offer(4, group="loans", transactional=True)]
GOALS = {"cards": "grow", "loans": "retain"}
NUMBERS = {one.offer_id: one.number for one in OFFERS}
UNITS_S = {"s": 1, "h": 3600, "d": 86_400}
DECLARED = ("complaint", "quoted")
OUTCOMES = ("presented", "clicked", *DECLARED, "accepted", "rejected")
"""In the order in which the last of one moment is told."""


@dataclass(frozen=True)
class Happened:
    """One decision for an offer, and what was told of it: outcomes with their seconds before now."""

    offer: int
    ago_s: int
    told: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Question:
    """A call in its parts, as the oracle reads it."""

    function: str
    subject: str
    window: tuple[int, str] | None
    outcome: str = "quoted"

    @property
    def text(self) -> str:
        """The call as it is written in a rule."""
        within = "" if self.window is None else f", '{self.window[0]}{self.window[1]}'"
        named = f"'{self.outcome}', " if self.function.rpartition("_")[2] == "had" else ""
        return f"history.{self.function}({named}'{self.subject}'{within})"


happened = st.builds(
    Happened,
    st.integers(0, 3),
    st.integers(-5, 10 * 86_400),
    st.lists(st.tuples(st.sampled_from(OUTCOMES), st.integers(-5, 10 * 86_400)), max_size=3).map(tuple),
)
questions = st.builds(
    Question,
    st.sampled_from(
        [f"{how}{verb}" for how in ("", "count_", "days_since_") for verb in (*VERBS, "had")]
        + ["last_outcome"]
    ),
    st.sampled_from(["o1", "o2", "o3", "o4", "group:cards", "group:loans", "goal:grow", "goal:serve", "*"]),
    st.none() | st.tuples(st.integers(1, 9), st.sampled_from(sorted(UNITS_S))),
    st.sampled_from(OUTCOMES),
)


def contacts_of(events: list[Happened]) -> list[Contact]:
    """The contacts that Redis would keep of them, in the order of time."""
    found = []
    for event in events:
        one = OFFERS[event.offer]
        goal = GOALS[one.group]
        if not one.transactional:
            found.append(Contact(one.number, NOW_MS - event.ago_s * 1000, one.group, goal, "d", "web"))
        for outcome, ago_s in event.told:
            letter, slot = outcome_contact(outcome, "web", counts=not one.transactional)
            found.append(Contact(one.number, NOW_MS - ago_s * 1000, one.group, goal, letter, slot))
    return sorted(found, key=lambda contact: contact.at_ms)


def oracle(question: Question, events: list[Happened]) -> Any:
    """The answer, by going through everything that happened, in the words of the documentation."""
    within_s = MAX_WITHIN_S if question.window is None else question.window[0] * UNITS_S[question.window[1]]
    told = []
    for event in events:
        one = OFFERS[event.offer]
        about = {one.offer_id, f"group:{one.group}", f"goal:{GOALS[one.group]}", "*"}
        if question.subject not in about:
            continue
        if not one.transactional:
            told.append(("shown", event.ago_s))
        for outcome, ago_s in event.told:
            told.append((outcome, ago_s))
            if one.transactional and outcome == "presented":
                told.append(("shown", ago_s))
            if outcome in ("accepted", "rejected"):
                told.append(("answered", ago_s))
    told = [(kind, ago_s) for kind, ago_s in told if ago_s < within_s]
    if question.function == "last_outcome":
        outcomes = [(-ago_s, OUTCOMES.index(kind)) for kind, ago_s in told if kind in OUTCOMES]
        return OUTCOMES[max(outcomes)[1]] if outcomes else "none"
    verb = question.function.rpartition("_")[2]
    verb = question.outcome if verb == "had" else verb
    times = [ago_s for kind, ago_s in told if kind == verb]
    if question.function.startswith("count_"):
        return len(times)
    if question.function.startswith("days_since_"):
        return max(min(times), 0) / 86_400 if times else None
    return bool(times)


def call_of(question: Question) -> HistoryCall:
    """The call as rules read it."""
    call = parse_call(question.text)
    assert call is not None
    return call


@settings(max_examples=300, deadline=None)
@given(st.lists(happened, max_size=8), st.lists(questions, min_size=1, max_size=5))
def test_every_question_is_answered_as_a_plain_list_of_what_happened_answers_it(
    events: list[Happened], asked: list[Question]
) -> None:
    calls = [call_of(question) for question in asked]
    answers = OwnHistory(calls, NUMBERS).answers(contacts_of(events), NOW_MS)
    for question, call in zip(asked, calls, strict=True):
        assert answers.get(call.variable) == oracle(question, events), question.text


def condition_on(question: Question, answer: Any) -> str:
    """A condition that holds if and only if the answer to a question is this one."""
    if answer is None:
        return f"!has({question.text})"
    if isinstance(answer, bool):
        return question.text if answer else f"!{question.text}"
    if isinstance(answer, str):
        return f"{question.text} == '{answer}'"
    return f"{question.text} == {answer!r}"


@settings(max_examples=100, deadline=None)
@given(st.lists(happened, max_size=6), questions)
def test_a_rule_decides_by_the_history_and_again_by_the_record_of_the_decision(
    events: list[Happened], question: Question
) -> None:
    when = condition_on(question, oracle(question, events))
    rules = (Rule("own", "eligibility", when), Rule("other", "eligibility", f"!({when})"))
    offers = [offer(1, rules=rules[:1]), offer(2, rules=rules[1:]), *OFFERS[2:]]
    catalogue = catalogue_with(offers, outcomes={name: DeclaredOutcome(name) for name in DECLARED})
    first = inputs_of(catalogue, history=contacts_of(events))
    assert allowed(first).tolist()[:2] == [True, False]
    again = inputs_of(catalogue, history=customer_snapshot(first).history)
    assert again.evaluation.values == first.evaluation.values
    assert allowed(again).tolist() == allowed(first).tolist()

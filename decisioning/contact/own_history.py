"""A customer's own history as rules and policies know it: answers to ``history.shown('gold', '5d')``. Pure.

They follow from the contacts that a decision reads anyway, so they cost no further round trip, and nothing where no
rule asks. A contact counts within ``(now - window, now]``; one of a clock that is ahead counts too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from decisioning.contact.history import DECLARED, KIND_LETTERS, letters_of
from decisioning.model.decision import Contact
from decisioning.model.entities import GOALS
from decisioning.model.outcome import BUILT_IN
from rules.errors import RuleError
from rules.expression import Expression
from rules.history import HAD, VERBS, HistoryCall, calls_among, find_calls
from rules.tokens import position
from storage.clock import DAY_MS

LONG_WINDOW_S = 90 * 86_400
"""Longer than this, what is kept of the contacts of all customers is worth a warning."""

_ANSWERS = ("accepted", "rejected")
_DECLARED = DECLARED + DECLARED.upper()
# Of transactional offers decisions are not remembered, only what was told of them: they are shown once presented.
_LETTERS: Mapping[str, str] = {
    **{outcome: letters_of((outcome,), all_offers=True) for outcome in BUILT_IN},
    "answered": letters_of(_ANSWERS, all_offers=True),
    "shown": "dP",
    "outcome": letters_of(BUILT_IN, all_offers=True) + _DECLARED,
}
_OUTCOME_OF = {letter: outcome for outcome in BUILT_IN for letter in letters_of((outcome,), all_offers=True)}
_ORDER = {outcome: place for place, outcome in enumerate(KIND_LETTERS)}
_DECLARED_PLACE = _ORDER["clicked"] + 0.5

Key = tuple[str, str | int]
"""A scope, and an offer's number, a group, a goal, or nothing."""


@dataclass(frozen=True, slots=True)
class HistoryQuestion:
    """A call, ready to be answered. ``key``: what contacts are about that count; ``None`` for an unknown offer.

    ``outcome``: the declared one that it looks for, if it does.
    """

    call: HistoryCall
    key: Key | None
    letters: str
    outcome: str | None

    def counts(self, contact: Contact, now_ms: int) -> bool:
        """Return whether a contact about its key counts at a time."""
        return (
            contact.kind in self.letters
            and (self.outcome is None or contact.channel == self.outcome)
            and contact.at_ms > now_ms - self.call.within_s * 1000
        )

    def answer(self, contacts: Sequence[Contact], now_ms: int) -> bool | int | float | str | None:
        """Answer it from the contacts about its key, in the order of time; ``None`` if there is no answer."""
        counted = [contact for contact in contacts if self.counts(contact, now_ms)]
        match self.call.measure:
            case "ever":
                return bool(counted)
            case "count":
                return len(counted)
            case "last_outcome":
                return _last_outcome(counted)
        return max(now_ms - counted[-1].at_ms, 0) / DAY_MS if counted else None


class OwnHistory:
    """The questions that are asked of customers' histories: by one placement, or by policies."""

    def __init__(self, calls: Iterable[HistoryCall], numbers: Mapping[str, int]) -> None:
        distinct = {call.text: call for call in calls}
        self.questions = tuple(
            HistoryQuestion(call, _key(call, numbers), *_looked_for(call)) for call in distinct.values()
        )
        self._by_key: dict[Key, list[HistoryQuestion]] = {}
        for question in self.questions:
            if question.key is not None:
                self._by_key.setdefault(question.key, []).append(question)

    def answers(self, history: Sequence[Contact] | None, now_ms: int) -> dict[str, Any]:
        """Return the answers by the variable of each call; those that there are, so none without the history."""
        if history is None:
            return {}
        found: dict[Key, list[Contact]] = {key: [] for key in self._by_key}
        for contact in history:
            for key in _keys(contact):
                if key in found:
                    found[key].append(contact)
        answers = ((q, q.answer(found[q.key] if q.key else (), now_ms)) for q in self.questions)
        return {question.call.variable: answer for question, answer in answers if answer is not None}

    def looks_at(self, contact: Contact, now_ms: int) -> bool:
        """Return whether an answer at a time may depend on a contact."""
        return any(
            question.counts(contact, now_ms)
            for key in _keys(contact)
            for question in self._by_key.get(key, ())
        )


def unknown_name(
    expression: Expression, offers: Collection[str], groups: Collection[str], outcomes: Collection[str]
) -> RuleError | None:
    """Find the first call about something that there is not: where, what is wrong, and what may have been meant."""
    for use in find_calls(expression.source) if expression.calls else ():
        unknown = unknown_subject(use.call, offers, groups, outcomes)
        if unknown is not None:
            return RuleError(unknown[0], *position(expression.source, use.start), unknown[1])
    return None


def unknown_subject(
    call: HistoryCall, offers: Collection[str], groups: Collection[str], outcomes: Collection[str]
) -> tuple[str, str | None] | None:
    """Return what is wrong with the outcome, offer, group or goal of a call, and what may have been meant.

    ``outcomes``: those that are declared.
    """
    if call.outcome and call.outcome not in (*BUILT_IN, *outcomes):
        return f"there is no outcome {call.outcome!r}", _meant_outcome(call.outcome, outcomes)
    known: Mapping[str, Collection[str]] = {"offer": offers, "group": groups, "goal": GOALS, "all": ("",)}
    if call.name in known[call.scope]:
        return None
    message = f"there is no {call.scope} {call.name!r}"
    scopes = [call.scope, "group", "goal"] if call.scope == "offer" else [call.scope]
    for scope in scopes:
        # Another scope only for the very name: 'cards' is not 'group:card' that somebody misspelt.
        cutoff = 0.6 if scope == call.scope else 1.0
        near = get_close_matches(call.name, known[scope], n=1, cutoff=cutoff)
        if near:
            return message, f"did you mean '{'' if scope == 'offer' else scope + ':'}{near[0]}'?"
    return message, None


def feature_warnings(
    paths: Iterable[str],
    offers: Collection[str],
    groups: Collection[str],
    outcomes: Collection[str],
    history_ms: int,
) -> list[str]:
    """Describe what policies ask of the history and will not find. ``history_ms``: how long contacts are kept."""
    found = []
    for call in calls_among(paths):
        unknown = unknown_subject(call, offers, groups, outcomes)
        if unknown is not None:
            found.append(f"{call.text}: {unknown[0]}{f'; {unknown[1]}' if unknown[1] else ''}")
        elif call.within_s * 1000 > history_ms:
            found.append(
                f"{call.text}: contacts are kept for {history_ms / DAY_MS:g} days; list it in the log_facts of a"
                " placement, and they are kept for as long as it looks back"
            )
    return found


def _meant_outcome(name: str, outcomes: Collection[str]) -> str:
    if name in VERBS:
        return f"did you mean history.{name}?"
    near = get_close_matches(name, (*BUILT_IN, *outcomes), n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"declare it with PUT /v1/outcomes/{name}"


def _looked_for(call: HistoryCall) -> tuple[str, str | None]:
    """Return the letters of contacts that a call looks for, and the declared outcome, if it names one."""
    if call.verb != HAD:
        return _LETTERS[call.verb], None
    return (_LETTERS[call.outcome], None) if call.outcome in BUILT_IN else (_DECLARED, call.outcome)


def _key(call: HistoryCall, numbers: Mapping[str, int]) -> Key | None:
    if call.scope != "offer":
        return call.scope, call.name
    number = numbers.get(call.name)
    return None if number is None else ("offer", number)


def _keys(contact: Contact) -> tuple[Key, ...]:
    return ("offer", contact.offer), ("group", contact.group), ("goal", contact.goal), ("all", "")


def _last_outcome(told: Sequence[Contact]) -> str:
    """Return the newest outcome; of one moment an answer before declared ones, and these before other built-in ones."""
    if not told:
        return "none"
    outcomes = ((c.at_ms, _OUTCOME_OF.get(c.kind, c.channel)) for c in told)
    return max(outcomes, key=lambda one: (one[0], _ORDER.get(one[1], _DECLARED_PLACE), one[1]))[1]

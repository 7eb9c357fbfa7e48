"""Conditions on events, compiled once for each version of the catalogue."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from decisioning.aggregates.vocabulary import checker_of, property_attributes
from decisioning.errors import Invalid
from profiles.events.declared import Aggregate, Concept, Signal
from profiles.events.definitions import MAX_STATE_BYTES, EventDefinitions, max_state_bytes, prepare
from profiles.events.event import Event
from profiles.events.event_type import EventType
from rules.evaluation import Plan, RuleSet, evaluate
from rules.expression import Expression
from storage.clock import to_datetime


@dataclass(frozen=True, slots=True)
class TypeConditions:
    """The conditions on events of one type, by their source, and what evaluating them needs."""

    plan: Plan
    expressions: Mapping[str, Expression]


class ConditionMatcher:
    """Evaluates the conditions on events. What is missing in an event does not meet a condition, as in all rules."""

    def __init__(self, conditions: Mapping[str, TypeConditions]) -> None:
        self._conditions = conditions

    def __call__(self, event: Event, conditions: Collection[str]) -> Collection[str]:
        """Return those of the conditions that an event meets; each is evaluated once."""
        known = self._conditions[event.type]
        evaluation = evaluate(known.plan, {"event": event.properties}, to_datetime(event.at_ms))
        return {source for source in conditions if evaluation.holds(known.expressions[source])}


def compile_definitions(
    aggregates: Mapping[str, Aggregate], concepts: Mapping[str, Concept], event_types: Mapping[str, EventType]
) -> EventDefinitions:
    """Prepare aggregates and concepts, which have been checked before, with their conditions compiled.

    Raises ``Invalid`` if all of them may keep too much of one customer.
    """
    things: list[Aggregate | Concept] = [*aggregates.values(), *concepts.values()]
    total = sum(max_state_bytes(thing) for thing in things)
    if total > MAX_STATE_BYTES:
        raise Invalid(
            "aggregates",
            f"with concepts may keep {total:,} bytes of one customer, and {MAX_STATE_BYTES:,} are the most:"
            " leave some out, or give them longer tiles or fewer periods",
        )
    wheres: dict[str, dict[str, None]] = {}
    sources: list[Aggregate | Signal] = [*aggregates.values()]
    sources += [signal for concept in concepts.values() for signal in concept.signals]
    for made_of in sources:
        if made_of.where is not None:
            wheres.setdefault(made_of.event, {})[made_of.where] = None
    conditions = {event: _compile(event_types[event], found) for event, found in wheres.items()}
    return prepare(aggregates.values(), concepts.values(), ConditionMatcher(conditions))


def _compile(event_type: EventType, sources: Iterable[str]) -> TypeConditions:
    checker = checker_of(tuple(property_attributes(event_type).values()))
    expressions = {source: checker.check(source) for source in sources}
    plan = RuleSet(checker.vocabulary, {}).plan(expressions.values())
    return TypeConditions(plan, expressions)

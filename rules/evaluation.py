"""Evaluation: each distinct expression once a request, on a context that holds only what is referred to.

An expression that would take more than ``MAX_COST`` steps on what the request holds is not evaluated.

A missing attribute has one meaning: the condition is not met. So has an attribute of another type than the
vocabulary declares. Both are counted. (``customer.age > 30 || true`` is still true: CEL only needs what decides.)
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import cel

from rules.errors import RulesError
from rules.evaluators import UnknownZone
from rules.expression import SEGMENT, Expression
from rules.history import HistoryCall
from rules.vocabulary import HISTORY, Vocabulary

Facts = Mapping[str, Mapping[str, Any]]
"""``customer``, ``context`` and other roots of paths: names to values, nested where paths are.

``history``: the answers to what the plan asks of it, by variable; it is left out where the history cannot be read.
"""


class SegmentCycle(RulesError):
    """Segments refer to each other in a circle."""


class RuleSet:
    """All expressions of a catalogue, ready to be evaluated.

    Segments are evaluated first, those that others refer to before them.

    Raises
    ------
    SegmentCycle
        If segments refer to each other in a circle.
    """

    def __init__(self, vocabulary: Vocabulary, segments: Mapping[str, Expression]) -> None:
        self._vocabulary = vocabulary
        self._segments = segments
        self._order = _ordered(segments)

    def of(self, vocabulary: Vocabulary) -> "RuleSet":
        """Return the same segments for expressions that are checked against a larger vocabulary."""
        return RuleSet(vocabulary, self._segments)

    def depends_on(self, expression: Expression) -> frozenset[str]:
        """Find the roots that an expression depends on, through segments as well."""
        roots = set(expression.roots)
        for name in expression.segments:
            roots |= self.depends_on(self._segments[name])
        return frozenset(roots)

    def plan(self, expressions: Iterable[Expression], *, all_segments: bool = False) -> "Plan":
        """Plan what has to be in the context to evaluate ``expressions``; made once, used for every request.

        ``all_segments``: tell the truth of segments that no expression refers to as well.
        """
        wanted = list(expressions)
        names: set[str] = set(self._order) if all_segments else set()
        for expression in wanted:
            names |= self._needed(expression)
        segments = tuple((name, self._segments[name]) for name in self._order if name in names)
        everything = {e.source: e for e in [*wanted, *dict(segments).values()]}
        lasting = tuple(e for e in everything.values() if self.depends_on(e) == {"customer"})
        brief = (
            self._plan([e for e in everything.values() if e not in lasting], segments) if lasting else None
        )
        return replace(self._plan(everything.values(), segments), lasting=lasting, brief=brief)

    def _plan(
        self, expressions: Iterable[Expression], segments: "tuple[tuple[str, Expression], ...]"
    ) -> "Plan":
        wanted = list(expressions)
        paths = {p for e in wanted for p in e.paths}
        calls = {path: call for e in wanted for path, call in e.calls.items()}
        declared = {**self._vocabulary.attributes, **{path: c.attribute() for path, c in calls.items()}}
        places = tuple((p, tuple(p.split(".")), declared[p].type) for p in sorted(paths - {"now"}))
        here = tuple(p for p in places if p[1][0] != "offer")
        roots = tuple(dict.fromkeys(("customer", "context", *(names[0] for _, names, _ in here))))
        leaves = {
            root: tuple(
                (path, names[1], kind) for path, names, kind in here if names[0] == root and len(names) == 2
            )
            for root in roots
        }
        asked = tuple(calls[path] for path in sorted(calls))
        idle = not wanted and not segments
        deeper = tuple(place for place in here if len(place[1]) > 2)
        return Plan(here, segments, "now" in paths, idle, roots, leaves, deeper, history=asked)

    def _needed(self, expression: Expression) -> set[str]:
        names = set(expression.segments)
        for name in expression.segments:
            names |= self._needed(self._segments[name])
        return names


@dataclass(frozen=True, slots=True)
class Plan:
    """The needs of some expressions: places of facts, segments in their order, the time.

    ``roots``: those of the places, and ``customer`` and ``context``; ``leaves``: path, name and type of the places
    directly below each root, ``deeper`` the other places. ``idle``: there are no expressions. ``lasting``: those that
    depend on the customer alone, so that their results last as long as the profile; ``brief``: what is needed when
    they are known already. ``history``: what is asked of the customer's own history.
    """

    places: tuple[tuple[str, tuple[str, ...], str], ...]
    segments: tuple[tuple[str, Expression], ...]
    now: bool
    idle: bool = False
    roots: tuple[str, ...] = ("customer", "context")
    leaves: Mapping[str, tuple[tuple[str, str, str], ...]] = field(default_factory=dict)
    deeper: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    lasting: tuple[Expression, ...] = ()
    brief: "Plan | None" = None
    history: tuple[HistoryCall, ...] = ()


_NO_FACTS: Mapping[str, Any] = {}
_AS_IT_IS: Mapping[str, type] = {"bool": bool, "number": float, "string": str}
"""Values of these classes are of these types, and need no conversion."""

Results = Mapping[str, Any]
"""Results of expressions by their source."""


def evaluate(plan: Plan, facts: Facts, now: datetime, known: "Results | None" = None) -> "Evaluation":
    """Prepare the context of one request, with the truth of the segments.

    ``known``: what ``Evaluation.lasting`` told for the same customer, as long as the profile has not changed.
    """
    if plan.idle:
        return Evaluation()
    if known is not None and plan.brief is not None:
        evaluation = Evaluation(*_variables(plan.brief, facts, now))
        evaluation.results.update(known)
    else:
        evaluation = Evaluation(*_variables(plan, facts, now))
    truth: dict[str, bool] = {}
    for name, expression in plan.segments:
        evaluation.set_variable(SEGMENT, truth)
        truth[name] = evaluation.values[f"{SEGMENT}.{name}"] = evaluation.holds(expression)
    if plan.segments:
        evaluation.set_variable(SEGMENT, truth)
        evaluation.segments = tuple(name for name, holds in truth.items() if holds)
    return evaluation


@dataclass(slots=True)
class Evaluation:
    """One request's facts and the results so far.

    ``variables``: facts nested below their roots, as CEL knows them; ``values``: the same by path.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    results: dict[str, Any] = field(default_factory=dict)
    segments: tuple[str, ...] = ()
    offer: Mapping[str, Any] = field(default_factory=dict)
    _context: cel.Context | None = None

    @property
    def context(self) -> cel.Context:
        """The variables for CEL, which are converted when an expression first needs them."""
        if self._context is None:
            self._context = cel.Context(self.variables)
        return self._context

    def set_variable(self, name: str, value: Mapping[str, Any]) -> None:
        """Add or replace what is known below a root."""
        self.variables[name] = value
        if self._context is not None:
            self._context.add_variable(name, value)

    def lasting(self, plan: Plan) -> Results:
        """Return the results of the plan's lasting expressions, to be given to ``evaluate`` next time."""
        return {expression.source: self._value(expression) for expression in plan.lasting}

    def holds(self, expression: Expression) -> bool:
        """Return whether a condition is met; not if anything that decides is missing."""
        return self._value(expression) is True

    def number(self, expression: Expression) -> float | None:
        """Compute a number expression; ``None`` if anything that it needs is missing or it is not finite."""
        value = self._value(expression)
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:  # inf or nan
            return None
        return float(value)

    def facts(self, offer: Mapping[str, Any]) -> Callable[[str], Any]:
        """Make a look-up of what was observed for a path; ``None`` where it is missing."""
        variables = {**self.variables, "offer": offer}

        def observed(path: str) -> Any:
            value: Any = variables
            for name in path.split("."):
                value = value.get(name) if isinstance(value, Mapping) else None
            return value

        return observed

    def with_offer(self, offer: Mapping[str, Any]) -> "Evaluation":
        """Return an evaluation of the same request for one offer: for expressions that refer to ``offer``."""
        # The context is shared, not copied: an evaluation for an earlier offer must not be used any more.
        context = self.context
        context.add_variable("offer", dict(offer))
        return Evaluation(self.variables, self.values, self.missing, offer=offer, _context=context)

    def _value(self, expression: Expression) -> Any:
        source = expression.source
        if source in self.results:
            return self.results[source]
        direct = expression.direct
        value = None if direct is None else direct(self.values)
        try:
            if value is None:
                value = self._execute(expression)
        except KeyError as error:
            self.missing[_name_of(error, expression)] += 1
            value = None
        except (UnknownZone, RuntimeError, TypeError, ArithmeticError, IndexError, ValueError):
            self.missing[source] += 1
            value = None
        self.results[source] = value
        return value

    def _execute(self, expression: Expression) -> Any:
        """Let CEL evaluate it: the fast evaluator, or the reference implementation if it does not cost too much."""
        if expression.simple:
            return expression.program.execute(self.context)
        values = self.values
        if expression.offer_types:
            values = values | _offer_values(expression, self.offer)
        if not expression.affordable(values):
            self.missing[expression.source] += 1
            return None
        return expression.reference.run(values)


def _name_of(error: KeyError, expression: Expression) -> str:
    """Name what is missing: of the history, as it was asked."""
    if not error.args:
        return expression.source
    name = str(error.args[0])
    call = expression.calls.get(f"{HISTORY}.{name}")
    return name if call is None else call.text


def _ordered(segments: Mapping[str, Expression]) -> list[str]:
    order: list[str] = []
    state: dict[str, bool] = {}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if state.get(name):
            return
        if name in trail:
            raise SegmentCycle(f"segments refer to each other in a circle: {' -> '.join((*trail, name))}")
        for other in sorted(segments[name].segments):
            visit(other, (*trail, name))
        state[name] = True
        order.append(name)

    for name in sorted(segments):
        visit(name, ())
    return order


def _variables(plan: Plan, facts: Facts, now: datetime) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the plan needs: nested below the roots, and by path."""
    roots: dict[str, Any] = {root: {} for root in plan.roots}
    if plan.history:
        roots[HISTORY] = {}
    values: dict[str, Any] = {}
    for root, below in plan.leaves.items():
        given, place = facts.get(root, _NO_FACTS), roots[root]
        for path, name, kind in below:
            value = given.get(name)
            if type(value) is not _AS_IT_IS.get(kind):
                value = _typed(value, kind)
            if value is not None:
                values[path] = place[name] = value
    for path, names, kind in plan.deeper:
        value = _typed(_found(facts, names), kind)
        if value is not None:
            values[path] = value
            place = roots[names[0]]
            for name in names[1:-1]:
                place = place.setdefault(name, {})
            place[names[-1]] = value
    if plan.now:
        roots["now"] = values["now"] = now
    return roots, values


def _offer_values(expression: Expression, offer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an expression needs of an offer, by path."""
    found = {
        path: _typed(_found(offer, path.split(".")[1:]), kind)
        for path, kind in expression.offer_types.items()
    }
    return {path: value for path, value in found.items() if value is not None}


def _found(facts: Any, names: Iterable[str]) -> Any:
    """Follow names into nested mappings; ``None`` where there is nothing."""
    for name in names:
        facts = facts.get(name) if isinstance(facts, Mapping) else None
    return facts


def _typed(value: Any, kind: str) -> Any:
    """Convert a value to the type that the vocabulary declares; ``None`` if it is not of that type."""
    if kind == "bool":
        return value if isinstance(value, bool) else None
    if kind in ("number", "int"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if kind == "number":
            return _as_double(value)
        return int(value) if value == value // 1 and abs(value) < 2**63 else None
    if kind == "string":
        return value if isinstance(value, str) else None
    if kind == "timestamp":
        return _instant(value)
    return [v for v in value if isinstance(v, str)] if isinstance(value, list | tuple) else None


def _as_double(value: int | float) -> float | None:
    try:
        return float(value)
    except OverflowError:  # a whole number of 309 digits
        return None


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not at.tzinfo:
        return at.replace(tzinfo=UTC)
    try:
        # Its hours are those of UTC, whatever the zone that it was written in.
        return at.astimezone(UTC)
    except OverflowError:
        return None

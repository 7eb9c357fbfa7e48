"""The checks of a catalogue as a whole, mistake by mistake: building raises the first, files are told all."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, NamedTuple

from decisioning.aggregates.vocabulary import property_attributes
from decisioning.catalog.kind import ExpressionUse, Sections
from decisioning.catalog.kinds import (
    EVENT,
    GROUP,
    KINDS,
    OFFER,
    OUTCOME,
    REASON,
    TREATMENT,
    section_path,
    top_level_kinds,
)
from decisioning.contact.own_history import unknown_name
from decisioning.contact.signals import check_offer_scope
from decisioning.errors import Invalid, InvalidRule
from decisioning.treatments.treatment import offer_texts, treatment_mistakes
from profiles.customer import OfferScope
from rules.errors import RuleError
from rules.expression import Checker, Expression


class Mistake(NamedTuple):
    """A mistake in a thing: its kind and id, and the error, whose field may be a path or a field of the thing."""

    kind: str
    name: str
    error: Invalid

    @property
    def entity(self) -> str:
        """The path of the thing; empty if it is not known which."""
        if not self.kind:
            return ""
        return section_path(KINDS[self.kind], self.name)

    @property
    def path(self) -> str:
        """The path of the field."""
        field = self.error.field
        if not self.kind:
            return field
        for prefix in (self.entity, f"{self.kind}.{KINDS[self.kind].own_id(self.name)}"):
            if field == prefix or field.startswith(f"{prefix}."):
                return self.entity + field[len(prefix) :]
        return f"{self.entity}.{field}"


def reference_mistakes(sections: Sections) -> Iterator[Mistake]:
    """Yield references that lead nowhere, and what else kinds check of their things."""
    for kind in top_level_kinds():
        if kind.check is not None:
            for name, thing in sections[kind.section].items():
                for error in kind.check(thing, sections):
                    yield Mistake(kind.name, name, error)


def expression_mistakes(checker: Checker, sections: Sections) -> Iterator[Mistake]:
    """Yield expressions that are wrong."""
    for kind in top_level_kinds():
        if kind.expressions is not None:
            for name, thing in sections[kind.section].items():
                path = section_path(kind, name)
                for use in kind.expressions(thing):
                    error = expression_error(checker, path, use, sections)
                    if error is not None:
                        yield Mistake(kind.name, name, error)


def new_expression_mistakes(
    checker: Checker, sections: Sections, changed_kind: str, changed: str
) -> Iterator[Mistake]:
    """Yield expressions of a thing that may not be saved: too costly ones as well."""
    kind = KINDS[changed_kind]
    # Conditions of treatments are those of the offer, under the treatment's name.
    owner, _, treatment = changed.partition("/") if kind is TREATMENT else (changed, "", "")
    kind = OFFER if kind is TREATMENT else kind
    thing: Any = sections[kind.section].get(owner)
    if thing is None or kind.expressions is None:
        return
    for use in kind.expressions(thing):
        if use.field.startswith("treatments.") == bool(treatment) and (
            not treatment or use.field.startswith(f"treatments.{treatment}.")
        ):
            error = expression_error(checker, section_path(kind, owner), use, sections, new=True)
            if error is not None:
                yield Mistake(kind.name, owner, error)


def expression_error(
    checker: Checker, path: str, use: ExpressionUse, sections: Sections, *, new: bool = False
) -> Invalid | None:
    """Return what is wrong with an expression of the thing at ``path``. ``new``: hold it to its bound of cost."""
    field = f"{path}.{use.field}"
    event_type = sections[EVENT.section].get(use.event or "")
    checker = checker_of_use(checker, use, sections)
    check = checker.check_new if new else checker.check
    try:
        expression = check(use.source, use.result)
    except RuleError as error:
        return InvalidRule(field, error)
    if "offer" in expression.roots and not use.may_use_offer:
        return Invalid(field, "must not refer to the offer; name it instead")
    if "context" in expression.roots and not use.may_use_context:
        return Invalid(field, "must not refer to the context: nothing was asked, so there is none")
    personal = [] if event_type is None else sorted(f"event.{name}" for name in event_type.personal)
    if told := next((path for path in personal if path in expression.paths), None):
        return Invalid(field, f"must not refer to {told}: it is personal, and not kept with what fired")
    return history_error(field, expression, sections)


def checker_of_use(checker: Checker, use: ExpressionUse, sections: Sections) -> Checker:
    """Return the checker of an expression: one that knows the properties of the event that it may refer to."""
    event_type = sections[EVENT.section].get(use.event or "")
    return checker if event_type is None else checker.knowing(tuple(property_attributes(event_type).values()))


def history_error(field: str, expression: Expression, sections: Sections) -> Invalid | None:
    """Return what is wrong with the names that an expression asks the customer's history for."""
    offers, groups = sections[OFFER.section], sections[GROUP.section]
    error = unknown_name(expression, offers, groups, sections[OUTCOME.section])
    return None if error is None else InvalidRule(field, error)


def check_suppression(
    scope: OfferScope | None, reason_id: str | None, sections: Sections
) -> Iterator[Invalid]:
    """Yield what an entry in a suppression list names that is not in the catalogue: offers, groups, its reason."""
    if reason_id is not None and reason_id not in sections[REASON.section]:
        near = get_close_matches(reason_id, sections[REASON.section], n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"create it with PUT /v1/reasons/{reason_id}"
        yield Invalid("reason_id", f"there is no reason {reason_id!r}; {hint}")
    if scope is not None:
        yield from check_offer_scope(scope, sections)


def text_mistakes(checker: Checker, sections: Sections) -> Iterator[Mistake]:
    """Yield treatments that could not always be rendered, but for those of offers without their group."""
    for offer_id, offer in sections[OFFER.section].items():
        group = sections[GROUP.section].get(offer.group)
        if group is None:
            continue
        known = offer_texts(offer, group.goal)
        for treatment in offer.treatments:
            name = f"{offer_id}/{treatment.treatment_id}"
            path = section_path(TREATMENT, name)
            for error in treatment_mistakes(treatment, checker.vocabulary, known, f"{path}."):
                yield Mistake(TREATMENT.name, name, error)

"""All that is wrong with a catalogue, at once: who mends a file does not want to be told one mistake at a time."""

from collections.abc import Iterable, Mapping, Sequence

from decisioning.catalog.catalogue import build_catalogue, checker_of_sections, load_sections
from decisioning.catalog.checks import (
    Mistake,
    expression_mistakes,
    new_expression_mistakes,
    reference_mistakes,
    text_mistakes,
)
from decisioning.catalog.kind import Entry
from decisioning.catalog.kinds import AGGREGATE, ATTRIBUTE, CONCEPT, EVENT, SEGMENT
from decisioning.errors import Invalid
from rules.errors import RulesError

Things = Iterable[tuple[str, str]]
"""Kinds and ids."""
_VOCABULARY = tuple(kind.name for kind in (ATTRIBUTE, SEGMENT, AGGREGATE, CONCEPT, EVENT))
"""The kinds of which the vocabulary is made."""


def find_mistakes(
    entries: Sequence[Entry], numbers: Mapping[str, int], changes: Sequence[Entry], unread: Things = ()
) -> list[Mistake]:
    """Find all that is wrong with the catalogue of ``entries``.

    ``changes``: the entries that are to be saved, whose expressions are held to their bound of cost. ``unread``: things
    that are missing in ``entries``, or are not as they are meant, because they could not be read; that others refer to
    them is no mistake.
    """
    unread = set(unread)
    sections, found = load_sections(entries, numbers)
    unread |= {(mistake.kind, mistake.name) for mistake in found}
    found += [m for m in reference_mistakes(sections) if getattr(m.error, "missing", None) not in unread]
    # Where the vocabulary is not complete, nothing can be said about what uses it.
    if not any(kind in _VOCABULARY for kind, _ in unread):
        try:
            checker = checker_of_sections(sections)
        except RulesError as error:
            return [*found, Mistake("", "", Invalid("attributes", str(error)))]
        # What is told of a new expression is told of it alone: it suggests more.
        expressions = {mistake.path: mistake for mistake in expression_mistakes(checker, sections)}
        for kind, name, body in changes:
            if body is not None:
                new = new_expression_mistakes(checker, sections, kind, name)
                expressions |= {mistake.path: mistake for mistake in new}
        found += [*expressions.values(), *text_mistakes(checker, sections)]
    if not found and not unread:
        try:
            build_catalogue(0, entries, numbers).check_new(changes)
        except Invalid as error:
            found.append(Mistake("", "", error))
    return found

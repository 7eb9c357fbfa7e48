"""Treatments as they are said: texts with their variables filled in, and scripts for agents.

A treatment is checked when it is saved: every variable is known, and none can be left without a value. It is prepared
once for each catalogue, so that a treatment without variables and conditions costs nothing to say.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from decisioning.errors import Invalid, InvalidRule
from decisioning.model.decision import RenderedObjection, RenderedScript, RenderedStep, RenderedTreatment
from decisioning.model.entities import Objection, Offer, ScriptStep, Treatment
from decisioning.treatments.template import Lookup, Text, Use, plain, read_text
from rules.errors import RuleError
from rules.expression import Checker, Expression
from rules.vocabulary import Vocabulary

MAX_STEPS = 50
MAX_OBJECTIONS = 50
OFFER_FIELDS = ("offer.name", "offer.value")
"""What texts may know of an offer besides the vocabulary."""


def offer_texts(offer: Offer, goal: str) -> Mapping[str, Any]:
    """What texts may know of an offer, by path."""
    own = {
        "offer_id": offer.offer_id,
        "name": offer.name,
        "group": offer.group,
        "goal": goal,
        "value": offer.value,
    }
    return {f"offer.{name}": value for name, value in {**offer.attributes, **own}.items()}


def check_treatment(
    treatment: Treatment, vocabulary: Vocabulary, offer: Mapping[str, Any] | None = None, prefix: str = ""
) -> None:
    """Check that a treatment can always be said. Script conditions are not looked at: ``prepare`` reads them.

    ``offer``: what is known of the offer, by path; if it is not given, all of ``offer.`` counts as known.
    ``prefix`` is put before the names of fields.

    Raises
    ------
    Invalid
        Naming the field; an ``InvalidRule``, with position and suggestion, for what is wrong inside a text.
    """
    _check_script(treatment, prefix)
    known = {*vocabulary.attributes, *OFFER_FIELDS}
    for path, fallback in treatment.fallbacks.items():
        if path not in known:
            raise Invalid(f"{prefix}fallbacks.{path}", f"there is no variable {path!r}{_hint(path, known)}")
        if "{{" in fallback:
            raise Invalid(f"{prefix}fallbacks.{path}", "a fallback is plain text: it cannot hold variables")
    for name, source in _texts(treatment):
        try:
            for use in read_text(source).uses:
                _check_use(use, known, treatment.fallbacks, offer)
        except RuleError as error:
            raise InvalidRule(f"{prefix}{name}", error) from None


def _check_script(treatment: Treatment, prefix: str) -> None:
    if treatment.script is None:
        return
    steps, objections = treatment.script.steps, treatment.script.objections
    if len(steps) > MAX_STEPS:
        raise Invalid(f"{prefix}script.steps", f"has {len(steps)} steps; at most {MAX_STEPS} are taken")
    if len(objections) > MAX_OBJECTIONS:
        raise Invalid(
            f"{prefix}script.objections",
            f"has {len(objections)} objections; at most {MAX_OBJECTIONS} are taken",
        )
    _check_unique(f"{prefix}script.steps", "step_id", (s.step_id for s in steps))
    _check_unique(f"{prefix}script.objections", "objection", (o.objection for o in objections))


def _check_unique(field: str, what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Invalid(field, f"the {what} {value!r} is there twice")
        seen.add(value)


def _texts(treatment: Treatment) -> Iterator[tuple[str, str]]:
    """All texts of a treatment with the names of their fields."""
    yield "title", treatment.title
    yield "message", treatment.message
    if treatment.script is not None:
        for step in treatment.script.steps:
            yield f"script.steps.{step.step_id}.text", step.text
        for number, objection in enumerate(treatment.script.objections):
            yield f"script.objections.{number}.objection", objection.objection
            yield f"script.objections.{number}.answer", objection.answer


def _check_use(
    use: Use, known: set[str], fallbacks: Mapping[str, str], offer: Mapping[str, Any] | None
) -> None:
    if use.path not in known:
        near = _near(use.path, known)
        suggestion = near and f"did you mean {near}?"
        raise RuleError(f"there is no variable {use.path!r}", use.line, use.column, suggestion)
    certain = use.path.startswith("offer.") and (offer is None or plain(offer.get(use.path)) is not None)
    if not (certain or use.guarded or use.path in fallbacks):
        raise RuleError(
            f"{use.path} may have no value",
            use.line,
            use.column,
            f"declare a fallback for {use.path}, or write {{{{ {use.path} | default('...') }}}}",
        )


def _near(path: str, known: Iterable[str]) -> str | None:
    near = get_close_matches(path, sorted(known), n=1, cutoff=0.6)
    return near[0] if near else None


def _hint(path: str, known: Iterable[str]) -> str:
    near = _near(path, known)
    return f" (did you mean {near}?)" if near else ""


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a script, ready to be said."""

    step_id: str
    text: Text
    when: Expression | None


@dataclass(frozen=True, slots=True)
class Wording:
    """A treatment, ready to be said. ``fixed``: what is said where nothing of it depends on the request."""

    treatment: Treatment
    title: Text
    message: Text
    steps: tuple[Step, ...]
    objections: tuple[tuple[Text, Text], ...]
    fixed: RenderedTreatment | None

    @property
    def conditions(self) -> tuple[Expression, ...]:
        """The conditions of its steps."""
        return tuple(step.when for step in self.steps if step.when is not None)


def prepare(treatment: Treatment, checker: Checker) -> Wording:
    """Make a treatment that has been checked ready to be said.

    Raises
    ------
    RuleError
        If a text or a condition is wrong after all.
    """
    script = treatment.script
    steps: tuple[ScriptStep, ...] = () if script is None else script.steps
    objections: tuple[Objection, ...] = () if script is None else script.objections
    wording = Wording(
        treatment,
        read_text(treatment.title),
        read_text(treatment.message),
        tuple(
            Step(s.step_id, read_text(s.text), None if s.when is None else checker.check(s.when))
            for s in steps
        ),
        tuple((read_text(o.objection), read_text(o.answer)) for o in objections),
        None,
    )
    if wording.conditions or any(read_text(source).uses for _, source in _texts(treatment)):
        return wording
    fixed = _said(wording, lambda path: None, lambda condition: True)
    return Wording(treatment, wording.title, wording.message, wording.steps, wording.objections, fixed)


def say(wording: Wording, lookup: Lookup, holds: Callable[[Expression], bool]) -> RenderedTreatment:
    """The treatment of an answer: texts with values, or their fallbacks; of a script the steps that hold.

    ``lookup`` gives the value of a path, ``holds`` the truth of a condition.
    """
    return wording.fixed if wording.fixed is not None else _said(wording, lookup, holds)


def _said(wording: Wording, lookup: Lookup, holds: Callable[[Expression], bool]) -> RenderedTreatment:
    treatment = wording.treatment
    fallbacks = treatment.fallbacks
    script = None
    if treatment.script is not None:
        script = RenderedScript(
            tuple(
                RenderedStep(step.step_id, step.text.render(lookup, fallbacks))
                for step in wording.steps
                if step.when is None or holds(step.when)
            ),
            tuple(
                RenderedObjection(objection.render(lookup, fallbacks), answer.render(lookup, fallbacks))
                for objection, answer in wording.objections
            ),
        )
    return RenderedTreatment(
        treatment_id=treatment.treatment_id,
        channel=treatment.channel,
        language=treatment.language,
        title=wording.title.render(lookup, fallbacks),
        message=wording.message.render(lookup, fallbacks),
        image=treatment.image,
        script=script,
    )


def in_language(wordings: Sequence[Wording], languages: Iterable[str]) -> Wording:
    """The wording in the first language that there is one for, else the first.

    For each language the same tag is looked for first, then the same language of any region (``es-MX``, ``es``).
    """
    if len(wordings) > 1:
        for language in languages:
            wanted = language.lower()
            spoken = [wording.treatment.language.lower() for wording in wordings]
            if wanted in spoken:
                return wordings[spoken.index(wanted)]
            bases = [tag.partition("-")[0] for tag in spoken]
            if (base := wanted.partition("-")[0]) in bases:
                return wordings[bases.index(base)]
    return wordings[0]


def searchable(source: str, fallbacks: Mapping[str, str]) -> str:
    """A text as it can be found: with fallbacks, and dots for variables that have none."""
    try:
        text = read_text(source)
    except RuleError:
        return source
    blanks = {use.path: "…" for use in text.uses if not use.guarded}
    return text.render(lambda path: None, {**blanks, **fallbacks})

"""Checking, preparing and rendering treatments: texts with their variables filled in, and scripts for agents.

A treatment is checked when it is saved: every variable is known, and none can be left without a value. It is prepared
once for each catalogue, so that a treatment without variables and conditions costs nothing to render.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from msgspec import UNSET

from decisioning.errors import Invalid, InvalidRule, raised
from decisioning.model.decision import RenderedObjection, RenderedScript, RenderedStep, RenderedTreatment
from decisioning.model.entities import Objection, Offer, ScriptStep, Treatment
from decisioning.treatments.filters import plain_value
from decisioning.treatments.template import Lookup, ParsedText, VariableUse, parse_text
from rules.errors import RuleError
from rules.expression import Checker, Expression
from rules.vocabulary import Vocabulary

_LINK = re.compile(
    r"(?!(?:javascript|data|vbscript):)(?:[a-z][a-z0-9+.-]*://|mailto:|tel:|/|#|\?)[^\s\x00-\x1f\\]*", re.I
)
"""Addresses that do no harm where a page follows them: none that browsers run as a program."""
MAX_STEPS = 50
MAX_OBJECTIONS = 50
OFFER_FIELDS = ("offer.name", "offer.value")
"""Variables of an offer that texts may use besides those of the vocabulary."""


def offer_texts(offer: Offer, goal: str) -> Mapping[str, Any]:
    """Return the values of an offer that texts may use, by path."""
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
    """Check that a treatment can always be rendered.

    Conditions of scripts are not looked at: the catalogue checks them as expressions.
    ``offer``: the values of the offer, by path; if it is not given, all of ``offer.`` counts as known.
    ``prefix`` is put before the names of fields.

    Raises ``Invalid`` naming the field; an ``InvalidRule``, with position and suggestion, for what is wrong inside a
    text.
    """
    for error in treatment_mistakes(treatment, vocabulary, offer, prefix):
        raise error from None


def treatment_mistakes(
    treatment: Treatment, vocabulary: Vocabulary, offer: Mapping[str, Any] | None = None, prefix: str = ""
) -> Iterator[Invalid]:
    """Yield all for which a treatment could not always be rendered, as ``check_treatment`` raises the first of it."""
    yield from raised(_check_script, treatment, prefix)
    if treatment.link is not None and not _LINK.fullmatch(treatment.link):
        yield Invalid(
            f"{prefix}link",
            "must be an address such as https://example.com/gold, mailto:, tel: or an app's own (bank://), or a"
            " path that begins with / # or ?; without blanks",
        )
    known = {*vocabulary.attributes, *OFFER_FIELDS}
    for path, fallback in treatment.fallbacks.items():
        if path not in known:
            suggestion = _suggestion(path, known)
            hint = f" ({suggestion})" if suggestion else ""
            yield Invalid(f"{prefix}fallbacks.{path}", f"there is no variable {path!r}{hint}")
        if "{{" in fallback:
            yield Invalid(f"{prefix}fallbacks.{path}", "a fallback is plain text: it cannot hold variables")
    for name, source in _texts(treatment):
        try:
            for use in parse_text(source).uses:
                _check_use(use, known, treatment.fallbacks, offer)
        except RuleError as error:
            yield InvalidRule(f"{prefix}{name}", error)


def _check_script(treatment: Treatment, prefix: str) -> None:
    if treatment.script is None:
        return
    steps = [step.step_id for step in treatment.script.steps]
    objections = [objection.objection for objection in treatment.script.objections]
    parts = (("steps", "step_id", steps, MAX_STEPS), ("objections", "objection", objections, MAX_OBJECTIONS))
    for name, _, ids, most in parts:
        if len(ids) > most:
            raise Invalid(f"{prefix}script.{name}", f"has {len(ids)} {name}; at most {most} are taken")
    for name, id_field, ids, _ in parts:
        twice = next((one for i, one in enumerate(ids) if one in ids[:i]), None)
        if twice is not None:
            raise Invalid(f"{prefix}script.{name}", f"the {id_field} {twice!r} is there twice")


def _texts(treatment: Treatment) -> Iterator[tuple[str, str]]:
    """Yield all texts of a treatment with the names of their fields."""
    yield "title", treatment.title
    yield "message", treatment.message
    yield "button", treatment.button or ""
    yield "legal", treatment.legal or ""
    if treatment.script is not None:
        for step in treatment.script.steps:
            yield f"script.steps.{step.step_id}.text", step.text
        for number, objection in enumerate(treatment.script.objections):
            yield f"script.objections.{number}.objection", objection.objection
            yield f"script.objections.{number}.answer", objection.answer


def _check_use(
    use: VariableUse, known: set[str], fallbacks: Mapping[str, str], offer: Mapping[str, Any] | None
) -> None:
    if use.path not in known:
        suggestion = _suggestion(use.path, known)
        raise RuleError(f"there is no variable {use.path!r}", use.line, use.column, suggestion)
    # Of an offer the value is known when it is saved; of a customer or a context it may be missing at any time.
    certain = use.path.startswith("offer.") and (
        offer is None or plain_value(offer.get(use.path)) is not None
    )
    if not (certain or use.guarded or use.path in fallbacks):
        raise RuleError(
            f"{use.path} may have no value",
            use.line,
            use.column,
            f"declare a fallback for {use.path}, or write {{{{ {use.path} | default('...') }}}}",
        )


def _suggestion(path: str, known: Iterable[str]) -> str | None:
    near = get_close_matches(path, sorted(known), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else None


@dataclass(frozen=True, slots=True)
class PreparedStep:
    """A step of a script whose text and condition have been parsed."""

    step_id: str
    text: ParsedText
    when: Expression | None


@dataclass(frozen=True, slots=True)
class PreparedTreatment:
    """A treatment whose texts and conditions have been parsed.

    ``rendered``: the finished treatment where nothing of it depends on the request, otherwise ``None``.
    """

    treatment: Treatment
    title: ParsedText
    message: ParsedText
    button: ParsedText | None
    legal: ParsedText | None
    steps: tuple[PreparedStep, ...]
    objections: tuple[tuple[ParsedText, ParsedText], ...]
    rendered: RenderedTreatment | None

    @property
    def conditions(self) -> tuple[Expression, ...]:
        """The conditions of its steps."""
        return tuple(step.when for step in self.steps if step.when is not None)


def prepare_treatment(treatment: Treatment, checker: Checker) -> PreparedTreatment:
    """Parse the texts and conditions of a treatment that has been checked.

    Raises ``RuleError`` if a text or a condition is wrong after all.
    """
    script = treatment.script
    steps: tuple[ScriptStep, ...] = () if script is None else script.steps
    objections: tuple[Objection, ...] = () if script is None else script.objections
    prepared = PreparedTreatment(
        treatment,
        parse_text(treatment.title),
        parse_text(treatment.message),
        None if treatment.button is None else parse_text(treatment.button),
        None if treatment.legal is None else parse_text(treatment.legal),
        tuple(
            PreparedStep(s.step_id, parse_text(s.text), None if s.when is None else checker.check(s.when))
            for s in steps
        ),
        tuple((parse_text(o.objection), parse_text(o.answer)) for o in objections),
        None,
    )
    if prepared.conditions or any(parse_text(source).uses for _, source in _texts(treatment)):
        return prepared
    # Nothing is looked up in such a treatment, so one rendering serves all requests.
    return replace(prepared, rendered=_render(prepared, lambda path: None, lambda condition: True))


def render_treatment(
    prepared: PreparedTreatment, lookup: Lookup, holds: Callable[[Expression], bool]
) -> RenderedTreatment:
    """The treatment of an answer: texts with values, or their fallbacks; of a script the steps that hold.

    ``lookup`` gives the value of a path, ``holds`` the truth of a condition.
    """
    return prepared.rendered if prepared.rendered is not None else _render(prepared, lookup, holds)


def _render(
    prepared: PreparedTreatment, lookup: Lookup, holds: Callable[[Expression], bool]
) -> RenderedTreatment:
    treatment = prepared.treatment
    fallbacks = treatment.fallbacks
    script = None
    if treatment.script is not None:
        script = RenderedScript(
            tuple(
                RenderedStep(step.step_id, step.text.render(lookup, fallbacks))
                for step in prepared.steps
                if step.when is None or holds(step.when)
            ),
            tuple(
                RenderedObjection(objection.render(lookup, fallbacks), answer.render(lookup, fallbacks))
                for objection, answer in prepared.objections
            ),
        )
    return RenderedTreatment(
        treatment_id=treatment.treatment_id,
        channel=treatment.channel,
        language=treatment.language,
        title=prepared.title.render(lookup, fallbacks),
        message=prepared.message.render(lookup, fallbacks),
        image=treatment.image,
        script=script,
        link=UNSET if treatment.link is None else treatment.link,
        button=UNSET if prepared.button is None else prepared.button.render(lookup, fallbacks),
        legal=UNSET if prepared.legal is None else prepared.legal.render(lookup, fallbacks),
        attributes=dict(treatment.attributes) or UNSET,
    )


def choose_treatment(treatments: Sequence[PreparedTreatment], languages: Iterable[str]) -> PreparedTreatment:
    """Return the treatment in the first of ``languages`` that there is one for, else the first treatment.

    For each language the same tag is looked for first, then the same language of any region (``es-MX``, ``es``).
    """
    if len(treatments) > 1:
        for language in languages:
            tag = language.lower()
            offered = [prepared.treatment.language.lower() for prepared in treatments]
            if tag in offered:
                return treatments[offered.index(tag)]
            bases = [other.partition("-")[0] for other in offered]
            if (base := tag.partition("-")[0]) in bases:
                return treatments[bases.index(base)]
    return treatments[0]


def searchable_text(source: str, fallbacks: Mapping[str, str]) -> str:
    """Return a text as it can be found: with fallbacks, and dots for variables that have none."""
    try:
        parsed = parse_text(source)
    except RuleError:
        return source
    blanks = {use.path: "…" for use in parsed.uses if not use.guarded}
    return parsed.render(lambda path: None, {**blanks, **fallbacks})

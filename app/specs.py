"""Specifications of policies as they are sent or written in files: JSON or YAML, with dates, not milliseconds."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.api.schemas import Instant
from bandits.errors import BanditsError, PolicyParameterError, did_you_mean
from bandits.features import Feature
from bandits.policy import PolicySpec
from bandits.registry import build_policy
from bandits.specification import parse_spec, spec_to_dict
from decisioning.catalog.catalogue import Catalogue
from decisioning.catalog.yaml_values import parse
from decisioning.contact.own_history import feature_warnings
from decisioning.errors import Invalid
from rules.errors import RuleError
from rules.history import find_calls, parse_call
from rules.vocabulary import HISTORY
from storage.clock import DAY_MS, floor_ms, to_iso

MAX_SPEC_BYTES = 1_000_000
MAX_DAYS = 3660
_INSTANT: TypeAdapter[datetime] = TypeAdapter(Instant)


def yaml_values(document: str) -> Any:
    """Parse a YAML document to values as JSON has them. Raises ``DocumentError``."""
    return _plain(parse(document)[0])


def spec_of(
    values: Any,
    now_ms: int,
    builder: Callable[[PolicySpec], Any] = build_policy,
    auto_features: tuple[Feature, ...] | None = None,
) -> tuple[PolicySpec, bool]:
    """Parse a specification; also return whether it says its version. Raises ``Invalid``, whose field says where.

    ``builder``: what makes the policy, to try it out. ``auto_features``: what ``features: auto`` stands for.
    """
    if not isinstance(values, Mapping):
        raise Invalid("body", "a specification is an object with fields")
    found = {name: value for name, value in values.items() if value is not None}
    if "learn_since" in found:
        if "learn_since_ms" in found:
            raise Invalid("learn_since", "is there as learn_since_ms too")
        found["learn_since_ms"] = _since_ms(found.pop("learn_since"), now_ms)
    numbered = "version" in found
    try:
        # Without a version the store gives the next one; 1 stands in for it until then.
        spec = parse_spec({"version": 1, **found}, builder=builder, auto_features=auto_features)
        _check_history_features(spec)
        return spec, numbered
    except PolicyParameterError as error:
        raise Invalid(error.field or "body", str(error)) from None
    except BanditsError as error:
        raise Invalid("algorithm", str(error)) from None


def with_dates(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a specification that is kept as people write it: ``learn_since`` as a date and time (UTC)."""
    dates = {"learn_since_ms": "learn_since"}
    return {dates.get(name, name): to_iso(value) if name in dates else value for name, value in body.items()}


def warnings_of(body: Mapping[str, Any], placements: Iterable[str]) -> list[str]:
    """List what is not wrong in a specification that is kept, but may not be meant. ``placements``: those there are."""
    # Not refused: a placement may be made later than a policy that learns from it.
    known = set(placements)
    return [
        f"placements: there is no placement {said!r}, so it learns nothing from it{did_you_mean(said, known)}"
        for said in body.get("placements", [])
        if said not in known
    ]


def history_warnings(spec: PolicySpec, catalogue: Catalogue) -> list[str]:
    """List what the features of a specification ask of customers' histories and will not find."""
    paths = [feature.path for feature in spec.features if feature.path is not None]
    return feature_warnings(
        paths, catalogue.offers, catalogue.groups, catalogue.outcomes, catalogue.history_ms
    )


def _check_history_features(spec: PolicySpec) -> None:
    """Raise ``PolicyParameterError`` for the first feature that asks the customer's history what it cannot tell."""
    for i, feature in enumerate(spec.features):
        path = feature.path or ""
        if path.startswith(f"{HISTORY}.") and parse_call(path) is None:
            try:
                find_calls(path)
                reason = f"{path!r} is more than one question to the history"
            except RuleError as error:
                reason = f"{error.message}{f' ({error.suggestion})' if error.suggestion else ''}"
            raise PolicyParameterError(reason, f"features[{i}].path")


def candidate_body(
    values: Any, now_ms: int, auto_features: tuple[Feature, ...] | None = None
) -> dict[str, Any]:
    """Parse one that need not be registered, nor named, to what is kept. Raises ``Invalid`` (``spec.<field>``)."""
    try:
        named = {"name": "candidate", **values} if isinstance(values, Mapping) else values
        return spec_to_dict(spec_of(named, now_ms, auto_features=auto_features)[0])
    except Invalid as error:
        raise Invalid(f"spec.{error.field}", str(error)) from None


def _since_ms(value: Any, now_ms: int) -> int:
    """Convert to Unix ms a date and time, or ``{"days": 90}`` before now."""
    if isinstance(value, Mapping):
        days = value.get("days", 0)
        # Not isinstance: True is an int as well.
        if set(value) != {"days"} or type(days) is not int or not 1 <= days <= MAX_DAYS:
            raise Invalid("learn_since.days", f"must be a whole number from 1 to {MAX_DAYS}")
        return max(now_ms - days * DAY_MS, 0)
    try:
        return max(floor_ms(_INSTANT.validate_python(value)), 0)
    except ValidationError:
        reason = 'must be a date and time such as 2026-03-01T00:00:00Z, or {"days": 90}'
        raise Invalid("learn_since", reason) from None


def _plain(value: Any) -> Any:
    """Convert to plain values: times as text, as they would come in JSON."""
    if isinstance(value, date):
        at = value if isinstance(value, datetime) else datetime.combine(value, time())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value

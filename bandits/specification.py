"""Specifications of policies as they are written: JSON or YAML objects, checked field by field.

Every mistake raises ``PolicyParameterError``; its ``field`` says where (``features[2].path``), its message what to do.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, cast, get_args

from bandits.errors import PluginError, PolicyParameterError, UnknownPolicy, did_you_mean
from bandits.feature_columns import category_text
from bandits.features import OPTIONS, Feature, Kind
from bandits.plugins import NAME
from bandits.policy import LearnFrom, PolicySpec, PropensitySource
from bandits.registry import build_policy

MAX_VERSION = 1_000_000
MAX_REWARD_WINDOW_S = 10 * 366 * 86_400
MAX_VALUE_SCALE = 1e12
MAX_TEXT_LENGTH = 2_000
MAX_ITEMS = 100
MAX_NESTING = 8
AUTO = "auto"
"""In the place of a list of features: those that ``bandits.auto_features`` chooses."""

_FIELDS = tuple(field.name for field in fields(PolicySpec))


def parse_spec(
    mapping: Mapping[str, Any],
    name: str | None = None,
    version: int | None = None,
    *,
    builder: Callable[[PolicySpec], Any] = build_policy,
    auto_features: tuple[Feature, ...] | None = None,
) -> PolicySpec:
    """Parse a specification, and build its policy once to check it.

    ``name`` and ``version``: what it is to be called; if the mapping says so too, it must say the same.
    ``builder``: what makes the policy; the registry by default. ``auto_features``: what ``features: auto`` stands for;
    without them it is refused. Raises ``PolicyParameterError`` for the first mistake.
    """
    if not isinstance(mapping, Mapping):
        raise PolicyParameterError(f"a specification is an object with fields, not {_shorten(mapping)}", "")
    _check_known(mapping, _FIELDS, "", "a specification")
    features, auto = _resolve_features(mapping, auto_features)
    spec = PolicySpec(
        name=_parse_name(_agreed("name", mapping, name)),
        version=_parse_int("version", _agreed("version", mapping, version), 1, MAX_VERSION),
        algorithm=_parse_text("algorithm", _required(mapping, "algorithm", "the name of an algorithm")),
        parameters=_parse_parameters(mapping.get("parameters", {})),
        features=features,
        learn_from=_parse_learn_from(mapping.get("learn_from", "acceptance")),
        value_scale=_parse_value_scale(mapping),
        loss_scale=_parse_loss_scale(mapping),
        reward_window_s=_parse_reward_window(mapping.get("reward_window_s")),
        placements=_parse_placements(mapping.get("placements", [])),
        learn_since_ms=_parse_int("learn_since_ms", mapping.get("learn_since_ms", 0), 0, 2**53),
        description=_parse_text("description", mapping.get("description", ""), empty=True),
        auto=auto,
        propensity_source=_parse_propensity_source(mapping.get("propensity_source")),
    )
    _build_once(spec, builder)
    return spec


def parse_stored_spec(body: Mapping[str, Any]) -> PolicySpec:
    """Parse a specification that was accepted once; fields that became required since then have their former default.

    Raises ``PolicyParameterError``.
    """
    # A default of its own: what was accepted before a field was required must stay readable for ever.
    return parse_spec({"value_scale": 1.0, **body})


def spec_to_dict(spec: PolicySpec) -> dict[str, Any]:
    """Return a specification as plain JSON, the inverse of ``parse_spec``; defaults are left out."""
    body = _changed_fields(spec)
    if spec.learns_worth:
        body["value_scale"] = spec.value_scale
    if spec.parameters:
        body["parameters"] = dict(spec.parameters)
    else:
        body.pop("parameters", None)
    if spec.propensity_source is not None:
        source = spec.propensity_source
        features = [_changed_fields(feature) for feature in source.features]
        body["propensity_source"] = {
            "policy": source.policy,
            "parameters": dict(source.parameters),
            "features": features,
        }
    if spec.features:
        body["features"] = [_changed_fields(feature) for feature in spec.features]
    return body


def _changed_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults; tuples as lists."""
    found = {}
    for field in fields(value):
        said = getattr(value, field.name)
        if field.default is MISSING or said != field.default:
            found[field.name] = list(said) if isinstance(said, tuple) else said
    return found


def _build_once(spec: PolicySpec, builder: Callable[[PolicySpec], Any]) -> None:
    try:
        builder(spec)
    except (UnknownPolicy, PluginError) as error:
        raise PolicyParameterError(str(error), "algorithm") from error
    except PolicyParameterError as error:
        raise PolicyParameterError(str(error), error.field or "parameters") from error


def wants_auto_features(values: Any) -> bool:
    """Return whether a specification, as it was sent, leaves the choice of features to the rule."""
    return isinstance(values, Mapping) and values.get("features") == AUTO


def _resolve_features(
    mapping: Mapping[str, Any], auto_features: tuple[Feature, ...] | None
) -> tuple[tuple[Feature, ...], bool]:
    """Return the features of a specification, and whether the rule has chosen them, now or when it was made."""
    if wants_auto_features(mapping):
        rule = "features: auto is for a policy that is registered or compared, where the catalogue is known"
        _require(auto_features is not None, "features", rule, AUTO)
        return auto_features or (), True
    auto = mapping.get("auto", False)
    _require(isinstance(auto, bool), "auto", "auto is true or false", auto)
    return _parse_features(mapping.get("features", [])), auto


def _parse_features(items: Any, at: str = "features") -> tuple[Feature, ...]:
    _require(isinstance(items, list | tuple), at, "features is a list of objects, or auto", items)
    _require(len(items) <= MAX_ITEMS, at, f"at most {MAX_ITEMS} features", len(items))
    return tuple(_parse_feature(item, f"{at}[{i}]") for i, item in enumerate(items))


def _parse_feature(item: Any, at: str) -> Feature:
    _require(isinstance(item, Mapping), at, "a feature is an object with a name and a kind", item)
    kinds = get_args(Kind)
    kind = _required(item, "kind", f"one of {', '.join(kinds)}", at)
    _require(kind in kinds, f"{at}.kind", f"kind is one of {', '.join(kinds)}", kind, kinds)
    _check_known(item, ("name", "kind", *OPTIONS[kind]), at, f"a {kind} feature")
    said = dict(item)
    said["name"] = _parse_text(f"{at}.name", _required(item, "name", "a name for its columns", at))
    for option in ("path", "time_zone"):
        if option in said:
            said[option] = _parse_text(f"{at}.{option}", said[option])
    for option in ("values", "topics", "of"):
        if option in said:
            said[option] = _parse_texts(said[option], f"{at}.{option}")
    for option in ("low", "high", "default", "buckets", "harmonics"):
        if option in said:
            _require(_is_number(said[option]), f"{at}.{option}", f"{option} is a number", said[option])
    return Feature(**said)


def _parse_texts(items: Any, at: str) -> tuple[str, ...]:
    _require(isinstance(items, list | tuple), at, "this is a list", items)
    found = []
    for i, item in enumerate(items):
        text = category_text(item)
        _require(_is_storable(text), f"{at}[{i}]", "this is a text, a number or a truth value", item)
        found.append(str(text))
    return tuple(found)


def _parse_propensity_source(value: Any) -> PropensitySource | None:
    """Parse the source of propensities; a policy's name alone is looked up where policies are registered."""
    if value is None:
        return None
    field = "propensity_source"
    rule = "a source is named as name@version where a policy is registered or evaluated"
    _require(isinstance(value, Mapping), field, rule, value)
    _check_known(value, ("policy", "parameters", "features"), field, "a source of propensities")
    policy = _parse_text(f"{field}.policy", _required(value, "policy", "the policy that it is of", field))
    parameters = _parse_parameters(value.get("parameters", {}), f"{field}.parameters")
    return PropensitySource(
        policy, parameters, _parse_features(value.get("features", []), f"{field}.features")
    )


def _parse_parameters(parameters: Any, at: str = "parameters") -> Mapping[str, Any]:
    _require(isinstance(parameters, Mapping), at, "parameters is an object", parameters)
    for name, value in parameters.items():
        _require(_is_storable(name), at, "the name of a parameter is a text", name)
        rule = "a parameter is plain JSON with finite numbers"
        _require(_is_plain_json(value), f"{at}.{name}", rule, value)
    return dict(parameters)


def _is_plain_json(value: Any, depth: int = 0) -> bool:
    if depth > MAX_NESTING:  # YAML can nest without end
        return False
    if isinstance(value, Mapping):
        return all(_is_storable(key) and _is_plain_json(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_is_plain_json(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int) or _is_storable(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_storable(value: Any) -> bool:
    """Return whether a value is a text that every database can hold."""
    # Postgres refuses NUL in text, and neither it nor JSON in UTF-8 can hold a lone surrogate.
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _parse_learn_from(value: Any) -> LearnFrom:
    known = get_args(LearnFrom)
    _require(value in known, "learn_from", f"learn_from is one of {', '.join(known)}", value, known)
    return cast(LearnFrom, value)


def _parse_loss_scale(mapping: Mapping[str, Any]) -> float:
    value = mapping.get("loss_scale", 0.0)
    earned = mapping.get("learn_from") == "earned"
    _require(earned or value == 0, "loss_scale", "loss_scale is for policies that learn from earned", value)
    rule = f"loss_scale is the loss that counts as 0: a number from 0 to {MAX_VALUE_SCALE:g}"
    _require(_is_number(value) and 0 <= value <= MAX_VALUE_SCALE, "loss_scale", rule, value)
    window = mapping.get("reward_window_s")
    _require(
        not earned or window is None,
        "reward_window_s",
        "a policy that learns from earned has the placement's window: what it counted is exchanged outcome by outcome",
        window,
    )
    return float(value)


def _parse_value_scale(mapping: Mapping[str, Any]) -> float:
    source = mapping.get("learn_from")
    if source in ("value", "earned"):
        # With 1, all that is worth more would count the same.
        what = f"the value that counts as 1, such as the most that an offer is worth; learning from {source} needs it"
        _required(mapping, "value_scale", what)
    value = mapping.get("value_scale", 1.0)
    rule = f"value_scale is the value that counts as 1: a number above 0, up to {MAX_VALUE_SCALE:g}"
    _require(_is_number(value) and 0 < value <= MAX_VALUE_SCALE, "value_scale", rule, value)
    return float(value)


def _parse_reward_window(value: Any) -> int | None:
    return None if value is None else _parse_int("reward_window_s", value, 1, MAX_REWARD_WINDOW_S)


def _parse_placements(items: Any) -> tuple[str, ...]:
    _require(isinstance(items, list | tuple), "placements", "placements is a list of placement ids", items)
    _require(len(items) <= MAX_ITEMS, "placements", f"at most {MAX_ITEMS} placements", len(items))
    found = tuple(_parse_text(f"placements[{i}]", item) for i, item in enumerate(items))
    _require(len(set(found)) == len(found), "placements", "name each placement once", items)
    return found


def _parse_name(value: Any) -> str:
    rule = "name is small letters, digits, _ and - (at most 64), beginning with a letter"
    _require(isinstance(value, str) and NAME.fullmatch(value), "name", rule, value)
    return str(value)


def _parse_int(field: str, value: Any, low: int, high: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(whole, field, f"{field} is a whole number from {low} to {high}", value)
    return int(value)


def _parse_text(field: str, value: Any, *, empty: bool = False) -> str:
    good = _is_storable(value) and (empty or bool(value)) and len(value) <= MAX_TEXT_LENGTH
    _require(good, field, f"this is a text of up to {MAX_TEXT_LENGTH} characters", value)
    return str(value)


def _agreed(field: str, mapping: Mapping[str, Any], given: Any) -> Any:
    if given is None:
        return _required(mapping, field, f"the {field} of the policy")
    said = mapping.get(field, given)
    _require(said == given, field, f"{field} is {given!r} elsewhere: leave it out, or say the same", said)
    return given


def _required(mapping: Mapping[str, Any], field: str, what: str, at: str = "") -> Any:
    if field not in mapping:
        raise PolicyParameterError(f"{field} is missing: say {what}", _join_path(at, field))
    return mapping[field]


def _check_known(mapping: Mapping[str, Any], known: Iterable[str], at: str, what: str) -> None:
    known = tuple(known)
    for key in mapping:
        if key not in known:
            raise PolicyParameterError(
                f"{what} has no {_shorten(key)}; it has {', '.join(known)}{did_you_mean(key, known)}",
                _join_path(at, str(key)),
            )


def _require(holds: Any, field: str, rule: str, value: Any, known: Iterable[str] = ()) -> None:
    if not holds:
        raise PolicyParameterError(f"{rule}; not {_shorten(value)}{did_you_mean(value, known)}", field)


def _join_path(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

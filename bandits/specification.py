"""Specifications of policies as they are written: JSON or YAML objects, checked field by field.

Every mistake raises ``PolicyParameterError``; its ``field`` says where (``features[2].path``), its message what to do.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args

from bandits.columns import token
from bandits.errors import PluginError, PolicyParameterError, UnknownPolicy
from bandits.features import OPTIONS, Feature, Kind
from bandits.policy import LearnFrom, PolicySpec
from bandits.registry import build
from bandits.wording import did_you_mean

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
LAST_VERSION = 1_000_000
LONGEST_WINDOW_S = 10 * 366 * 86_400
LARGEST_VALUE = 1e12
MOST_TEXT = 2_000
MOST_ITEMS = 100
DEEPEST = 8

_FIELDS = tuple(field.name for field in fields(PolicySpec))


def parse_spec(
    mapping: Mapping[str, Any],
    name: str | None = None,
    version: int | None = None,
    *,
    builder: Callable[[PolicySpec], Any] = build,
) -> PolicySpec:
    """Read a specification, and try it out: its policy is made once.

    ``name`` and ``version``: what it is to be called; if the mapping says so too, it must say the same.
    ``builder``: what makes the policy; the registry by default.

    Raises
    ------
    PolicyParameterError
        For the first mistake.
    """
    if not isinstance(mapping, Mapping):
        raise PolicyParameterError(f"a specification is an object with fields, not {_short(mapping)}", "")
    _known(mapping, _FIELDS, "", "a specification")
    spec = PolicySpec(
        name=_name(_agreed("name", mapping, name)),
        version=_whole("version", _agreed("version", mapping, version), 1, LAST_VERSION),
        algorithm=_text("algorithm", _needed(mapping, "algorithm", "the name of an algorithm")),
        parameters=_parameters(mapping.get("parameters", {})),
        features=_features(mapping.get("features", [])),
        learn_from=_learn_from(mapping.get("learn_from", "acceptance")),
        value_scale=_value_scale(mapping),
        reward_window_s=_window(mapping.get("reward_window_s")),
        placements=_placements(mapping.get("placements", [])),
        learn_since_ms=_whole("learn_since_ms", mapping.get("learn_since_ms", 0), 0, 2**53),
        description=_text("description", mapping.get("description", ""), empty=True),
    )
    _try_out(spec, builder)
    return spec


def stored_spec(body: Mapping[str, Any]) -> PolicySpec:
    """Read a specification that was accepted once: what must be said only since then is as it was by default.

    Raises ``PolicyParameterError``.
    """
    return parse_spec({"value_scale": 1.0, **body})


def spec_body(spec: PolicySpec) -> dict[str, Any]:
    """The inverse of ``parse_spec``: an object of plain JSON; what is as by default is left out."""
    body = _stated(spec)
    if spec.learn_from == "value":
        body["value_scale"] = spec.value_scale
    if spec.parameters:
        body["parameters"] = dict(spec.parameters)
    else:
        body.pop("parameters", None)
    if spec.features:
        body["features"] = [_stated(feature) for feature in spec.features]
    return body


def _stated(value: Any) -> dict[str, Any]:
    """The fields of a dataclass that differ from their defaults; tuples as lists."""
    found = {}
    for field in fields(value):
        said = getattr(value, field.name)
        if field.default is MISSING or said != field.default:
            found[field.name] = list(said) if isinstance(said, tuple) else said
    return found


def _try_out(spec: PolicySpec, builder: Callable[[PolicySpec], Any]) -> None:
    try:
        builder(spec)
    except (UnknownPolicy, PluginError) as error:
        raise PolicyParameterError(str(error), "algorithm") from error
    except PolicyParameterError as error:
        raise PolicyParameterError(str(error), error.field or "parameters") from error


def _features(items: Any) -> tuple[Feature, ...]:
    _require(isinstance(items, list | tuple), "features", "features is a list of objects", items)
    _require(len(items) <= MOST_ITEMS, "features", f"at most {MOST_ITEMS} features", len(items))
    return tuple(_feature(item, f"features[{i}]") for i, item in enumerate(items))


def _feature(item: Any, at: str) -> Feature:
    _require(isinstance(item, Mapping), at, "a feature is an object with a name and a kind", item)
    kinds = get_args(Kind)
    kind = _needed(item, "kind", f"one of {', '.join(kinds)}", at)
    _require(kind in kinds, f"{at}.kind", f"kind is one of {', '.join(kinds)}", kind, kinds)
    _known(item, ("name", "kind", *OPTIONS[kind]), at, f"a {kind} feature")
    said = dict(item)
    said["name"] = _text(f"{at}.name", _needed(item, "name", "a name for its columns", at))
    for option in ("path", "time_zone"):
        if option in said:
            said[option] = _text(f"{at}.{option}", said[option])
    for option in ("values", "topics", "of"):
        if option in said:
            said[option] = _tokens(said[option], f"{at}.{option}")
    for option in ("low", "high", "default", "buckets", "harmonics"):
        if option in said:
            number = isinstance(said[option], int | float) and not isinstance(said[option], bool)
            _require(number, f"{at}.{option}", f"{option} is a number", said[option])
    return Feature(**said)


def _tokens(items: Any, at: str) -> tuple[str, ...]:
    _require(isinstance(items, list | tuple), at, "this is a list", items)
    found = []
    for i, item in enumerate(items):
        text = token(item)
        _require(_storable(text), f"{at}[{i}]", "this is a text, a number or a truth value", item)
        found.append(str(text))
    return tuple(found)


def _parameters(parameters: Any) -> Mapping[str, Any]:
    _require(isinstance(parameters, Mapping), "parameters", "parameters is an object", parameters)
    for name, value in parameters.items():
        _require(_storable(name), "parameters", "the name of a parameter is a text", name)
        _require(_plain(value), f"parameters.{name}", "a parameter is plain JSON with finite numbers", value)
    return dict(parameters)


def _plain(value: Any, depth: int = 0) -> bool:
    if depth > DEEPEST:  # YAML can nest without end
        return False
    if isinstance(value, Mapping):
        return all(_storable(key) and _plain(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return all(_plain(item, depth + 1) for item in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, int) or _storable(value)


def _storable(value: Any) -> bool:
    """A text that every database can hold."""
    return isinstance(value, str) and "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def _learn_from(value: Any) -> LearnFrom:
    known: tuple[LearnFrom, ...] = get_args(LearnFrom)
    for each in known:
        if value == each:
            return each
    _require(False, "learn_from", f"learn_from is one of {', '.join(known)}", value, known)
    raise AssertionError


def _value_scale(mapping: Mapping[str, Any]) -> float:
    if mapping.get("learn_from") == "value":
        # With 1, all that is worth more would count the same.
        what = "the value that counts as 1, such as the most that an offer is worth; learning from value needs it"
        _needed(mapping, "value_scale", what)
    value = mapping.get("value_scale", 1.0)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    rule = f"value_scale is the value that counts as 1: a number above 0, up to {LARGEST_VALUE:g}"
    _require(number and 0 < value <= LARGEST_VALUE, "value_scale", rule, value)
    return float(value)


def _window(value: Any) -> int | None:
    return None if value is None else _whole("reward_window_s", value, 1, LONGEST_WINDOW_S)


def _placements(items: Any) -> tuple[str, ...]:
    _require(isinstance(items, list | tuple), "placements", "placements is a list of placement ids", items)
    _require(len(items) <= MOST_ITEMS, "placements", f"at most {MOST_ITEMS} placements", len(items))
    found = tuple(_text(f"placements[{i}]", item) for i, item in enumerate(items))
    _require(len(set(found)) == len(found), "placements", "name each placement once", items)
    return found


def _name(value: Any) -> str:
    rule = "name is small letters, digits, _ and - (at most 64), beginning with a letter"
    _require(isinstance(value, str) and NAME.fullmatch(value), "name", rule, value)
    return str(value)


def _whole(field: str, value: Any, low: int, high: int) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    _require(whole, field, f"{field} is a whole number from {low} to {high}", value)
    return int(value)


def _text(field: str, value: Any, *, empty: bool = False) -> str:
    good = _storable(value) and (empty or bool(value)) and len(value) <= MOST_TEXT
    _require(good, field, f"this is a text of up to {MOST_TEXT} characters", value)
    return str(value)


def _agreed(field: str, mapping: Mapping[str, Any], given: Any) -> Any:
    if given is None:
        return _needed(mapping, field, f"the {field} of the policy")
    said = mapping.get(field, given)
    _require(said == given, field, f"{field} is {given!r} elsewhere: leave it out, or say the same", said)
    return given


def _needed(mapping: Mapping[str, Any], field: str, what: str, at: str = "") -> Any:
    if field not in mapping:
        raise PolicyParameterError(f"{field} is missing: say {what}", _join(at, field))
    return mapping[field]


def _known(mapping: Mapping[str, Any], known: Iterable[str], at: str, what: str) -> None:
    known = tuple(known)
    for key in mapping:
        if key not in known:
            raise PolicyParameterError(
                f"{what} has no {_short(key)}; it has {', '.join(known)}{did_you_mean(key, known)}",
                _join(at, str(key)),
            )


def _require(holds: Any, field: str, rule: str, value: Any, known: Iterable[str] = ()) -> None:
    if not holds:
        raise PolicyParameterError(f"{rule}; not {_short(value)}{did_you_mean(value, known)}", field)


def _join(at: str, field: str) -> str:
    return f"{at}.{field}" if at else field


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

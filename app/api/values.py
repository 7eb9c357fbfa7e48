"""Texts that have to be of some form: ids, times of day, time zones, languages. What is not is explained in words.

A form is a regular expression, which the documentation shows and which costs a request nothing in Python. It is
registered here with what explains a text that is not of it, since nobody should have to read the expression.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from pydantic import StringConstraints

from decisioning.contact.quiet_hours import zone_of

Explain = Callable[[str], str]
MISMATCH = "string_pattern_mismatch"
"""The type of pydantic's error for a text that is not of the form."""

_EXPLANATIONS: dict[str, Explain] = {}
_MAX_SHOWN_CHARS = 64
_TIME_OF_DAY = re.compile(
    r"(\d{1,2})(?:\s*[:.h]\s*(\d{2})?(?::\d{2})?)?\s*(?:([ap])\.?\s*m\.?|h|hrs?|o'clock|uhr)?",
    re.I | re.ASCII,
)
_DURATION = re.compile(r"\s*(?:P(?:T(?=\d))?)?(\d+(?:[.,]\d+)?)\s*([a-z]+)\s*", re.I | re.ASCII)
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_NAMES_OF_UNITS = {"sec": "s", "secs": "s", "second": "s", "seconds": "s", "mins": "min", "minute": "min"}
_NAMES_OF_UNITS |= {
    "minutes": "min",
    "hr": "h",
    "hrs": "h",
    "hour": "h",
    "hours": "h",
    "day": "d",
    "days": "d",
}
_NAMES_OF_UNITS |= {"week": "w", "weeks": "w"}


def form(pattern: str, explain: Explain, *, max_length: int | None = None) -> StringConstraints:
    """Make the constraint of a text that matches ``pattern``. ``explain``: what to say of one that does not."""
    _EXPLANATIONS[pattern] = explain
    return StringConstraints(pattern=pattern, max_length=max_length)


def explain_mismatch(error: Mapping[str, Any]) -> str | None:
    """Explain an error of validation; ``None`` if it is about no form that is registered."""
    if error["type"] != MISMATCH:
        return None
    explain = _EXPLANATIONS.get(error["ctx"]["pattern"])
    return None if explain is None else explain(str(error.get("input", "")))


def is_registered(pattern: str) -> bool:
    """Return whether a form of this pattern is explained."""
    return pattern in _EXPLANATIONS


def named(rule: str, allowed: str, joint: str, *, lower: bool = False, prefix: str = "") -> Explain:
    """Make the explanation of names. ``rule``: what they consist of.

    ``allowed``: a class of characters; ``joint`` stands for all others in the name that is proposed.
    """

    def explain(text: str) -> str:
        plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().strip()
        proposed = re.sub(f"[^{allowed}]+", joint, plain.lower() if lower else plain).strip("._-")
        if proposed and prefix and not proposed.startswith(prefix):
            proposed = prefix + proposed
        first = proposed[:1]
        is_good = first.isalpha() or (first.isdigit() and "digit" in rule.partition("begin")[2])
        return said(
            rule, proposed if is_good and proposed != text and len(proposed) <= _MAX_SHOWN_CHARS else None
        )

    return explain


def said(rule: str, proposed: str | None) -> str:
    """Say what holds, and what to write."""
    return f"{rule}: write {proposed}" if proposed else rule


def day_name(text: str) -> str:
    """Explain what is no day."""
    return "must be a day such as 2026-01-31"


def part_name(text: str) -> str:
    """Explain what is no file of an export."""
    return "must be the name of a file as the job lists it, such as part-0000.parquet"


def time_of_day(text: str) -> str:
    """Explain a time that is not ``HH:MM``."""
    return said("must be a time of day, from 00:00 to 23:59, such as 21:30", _clock(text.strip()))


def _clock(text: str) -> str | None:
    if text.lower() in ("noon", "midday", "midnight"):
        return "00:00" if text.lower() == "midnight" else "12:00"
    match = _TIME_OF_DAY.fullmatch(text)
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    if (hour, minute) == (24, 0):
        hour = 0
    return f"{hour:02}:{minute:02}" if hour < 24 and minute < 60 else None


def time_zone(text: str) -> str:
    """Explain a name that is no time zone."""
    text = text.strip()[:_MAX_SHOWN_CHARS]
    by_name = _zones_by_name()
    wanted = re.sub(r"\s*/\s*", "/", text.lower()).replace(" ", "_")
    near = get_close_matches(wanted, by_name, n=1, cutoff=0.8)
    rule = f"there is no time zone {text!r}; it is a name such as Europe/Madrid or UTC"
    return said(rule, by_name[near[0]] if near else None)


@cache
def _zones_by_name() -> Mapping[str, str]:
    """Map what people may call a time zone, in small letters, to its name: whole, or the place alone."""
    places = {zone.rpartition("/")[2].lower(): zone for zone in sorted(available_timezones(), reverse=True)}
    return places | {zone.lower(): zone for zone in available_timezones()}


def known_zone(name: str) -> str:
    """Return the name of a time zone. Raises ``ValueError`` for one that there is not."""
    if zone_of(name) is None:
        raise ValueError(time_zone(name))
    return name


def language(text: str) -> str:
    """Explain what is no tag of a language."""
    proposed = text.strip().replace("_", "-").replace(" ", "-")
    is_tag = re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", proposed)
    return said("must be a language such as en or de-CH", proposed if is_tag else None)


def seconds(value: object) -> object:
    """Return a value that may be seconds. Raises ``ValueError``, with the seconds, for a text such as ``7 days``."""
    if not isinstance(value, str):
        return value
    rule = "must be a whole number of seconds, without quotes"
    match = _DURATION.fullmatch(value)
    unit = "" if match is None else match[2].lower()
    length = _UNITS.get(_NAMES_OF_UNITS.get(unit, unit))
    if match is not None and length is not None and len(match[1]) < 10:
        found = float(match[1].replace(",", ".")) * length.total_seconds()
        raise ValueError(said(rule, f"{found:.0f}"))
    digits = value.strip()
    raise ValueError(
        said(rule, digits if digits.isascii() and digits.isdigit() and len(digits) < 10 else None)
    )


def duration(text: str) -> str:
    """Explain what is no length of time such as ``7d``, with the one that is meant."""
    match = _DURATION.fullmatch(text)
    unit = "" if match is None else match[2].lower()
    unit = _NAMES_OF_UNITS.get(unit, unit)
    proposed = None
    if match is not None and unit in _UNITS and match[1].isdigit() and 0 < int(match[1]) < 1_000_000:
        proposed = f"{int(match[1]) * 7}d" if unit == "w" else f"{int(match[1])}{unit[0]}"
    return said("must be a length of time such as 30m, 24h or 7d", proposed)


def percentage(value: object) -> object:
    """Return a value that may be percent. Raises ``ValueError``, with the number, for a text such as ``25 %``."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*([+-]?\d{1,5}(?:[.,]\d{1,5})?)\s*%?\s*", value, re.ASCII)
    proposed = None if match is None else match[1].replace(",", ".").removeprefix("+")
    raise ValueError(said("must be a number of percent, without quotes", proposed))


identifier = named(
    "must be letters, digits, '.', '_' and '-', 64 at most, and begin with a letter or digit",
    "A-Za-z0-9._-",
    "-",
)
word = named("must be letters, digits and '_', 64 at most, and begin with a letter or '_'", "A-Za-z0-9_", "_")
attribute_path = named(
    "must be customer., context. or offer. and a name of letters, digits and '_'",
    "A-Za-z0-9_.",
    "_",
    prefix="customer.",
)
policy_name = named(
    "must be small letters, digits, '_' and '-', 64 at most, and begin with a letter",
    "a-z0-9_-",
    "-",
    lower=True,
)


def policy_key(text: str) -> str:
    """Explain what is no policy with its version."""
    bare = re.fullmatch(r"[a-z][a-z0-9_-]{0,63}", text)
    return said("must be a policy and its version, such as calibrated@1", f"{text}@1" if bare else None)


def policy_maybe_version(text: str) -> str:
    """Explain what is no policy, with or without its version."""
    return "must be a policy, such as calibrated, or one of its versions, such as calibrated@2"


def channel(text: str) -> str:
    """Explain what is no channel of a consent."""
    any_channel = text.strip().lower() in ("", "all", "any", "all channels", "any channel")
    return said("must be a channel, such as web, or * for all of them", "*" if any_channel else None)


def decision_id(text: str) -> str:
    """Explain what is no id of a decision."""
    return "must be letters, digits, '.', '_', ':' and '-', 128 at most, and begin with a letter or digit"


def dead_letter_id(text: str) -> str:
    """Explain what is no id of a record that was set aside."""
    return "must be an id that GET /v1/dead-letters shows, such as events:1764209938123-0"


def stream_name(text: str) -> str:
    """Explain what is no name of a stream of Redis."""
    return "must be letters, digits, '.', '_', ':' and '-', 128 at most, such as nb:triggered"


def visitor_id(text: str) -> str:
    """Explain an id that a page made for a visitor."""
    return said("must be 16 to 64 letters, digits, '_' and '-', made by the page at random", None)


def visitor_name(text: str) -> str:
    """Explain what names no visitor."""
    return (
        "must be the id that the page made, or 'visitor:' and that id: letters, digits, '_', '-', '.' and ':'"
    )


def page_decision_id(text: str) -> str:
    """Explain a decision id that a page made."""
    return said("must be 'pub-' and 16 to 100 letters, digits, '_' and '-', made by the page at random", None)


def country_code(text: str) -> str:
    """Explain the code of a country in telephone numbers."""
    proposed = text.strip().removeprefix("+").lstrip("0")
    valid = re.fullmatch(r"[1-9][0-9]{0,2}", proposed, re.ASCII)
    return said("must be 1 to 3 digits, without + or 00, such as 34", proposed if valid else None)

"""Records of the log: what a stream entry holds, and how it is read.

Five types. ``decided``: ``id``, ``h`` (the header, JSON), ``c`` (candidates' numbers, little-endian uint32), ``x``
(their precomputed propensities, float32, NaN where there is none), ``f`` (their ``C``, then their ``V``, float64; only
if the request decided them). ``outcome``: one outcome of one offer. ``released``: the offers of a decision of which
nobody said in time that they were presented, and whose reservations were given back; nothing is learned from it.
``expired`` and ``withdrawn``: one entry for all offers of a decision that were still open. The last four carry all that
is needed to learn from them, so no reader has to join.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from bandits.policy import NO_FACTS, Facts, FloatArray, IntArray
from decisioning.errors import LogCodecError
from decisioning.model.selection import Selection

Header = dict[str, Any]
Fields = Mapping[bytes, bytes]
Identity = tuple[str, int, str | None, str | None]
"""Decision id and time (Unix ms), and for an outcome its offer and what it was."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, as logged. ``position`` is the entry's id in the stream of ``bucket``."""

    bucket: int
    position: str
    header: Header
    candidates: IntArray
    base_propensities: NDArray[np.float32]
    factors: FloatArray | None = None

    @property
    def decision_id(self) -> str:
        """The decision's id."""
        return str(self.header["decision_id"])

    @property
    def identity(self) -> Identity:
        """What this record is, wherever in the log it stands."""
        return self.decision_id, int(self.header["decided_at_ms"]), None, None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one decided offer. Times are Unix milliseconds; ``reward`` is ``None`` if nothing is learned.

    ``estimate`` and ``worth``: the propensity and the value that the decision expected of the offer, NaN if they are
    not known. ``facts``: what was known of the request, by path, as far as policies learn from it.
    """

    bucket: int
    position: str
    decision_id: str
    decided_at_ms: int
    offer_id: str
    offer: int
    outcome: str
    value: float | None
    at_ms: int
    recorded_ms: int
    late: bool
    reward: float | None
    base_propensity: float
    policy: str
    placement: str
    estimate: float = math.nan
    worth: float = math.nan
    facts: Facts = field(default_factory=lambda: NO_FACTS)

    @property
    def identity(self) -> Identity:
        """What this record is, wherever in the log it stands: an outcome counts once."""
        return self.decision_id, self.decided_at_ms, self.offer_id, self.outcome


def header_bytes(header: Header) -> bytes:
    """The wire form of a header."""
    return to_json(header)


def parse_header(blob: bytes) -> Header:
    """Read a header.

    Raises
    ------
    LogCodecError
        If it is not a JSON object.
    """
    try:
        header = from_json(blob)
    except ValueError as error:
        raise LogCodecError(f"a decision's header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise LogCodecError("a decision's header is not an object")
    return header


def candidate_bytes(selection: Selection) -> tuple[bytes, bytes, bytes]:
    """The wire form of candidates, priors and factors (empty if the catalogue tells them)."""
    factors = b"" if selection.factors is None else selection.factors.astype("<f8").tobytes()
    return (
        selection.candidates.astype("<u4").tobytes(),
        selection.base_propensities.astype("<f4").tobytes(),
        factors,
    )


def parse_entry(bucket: int, position: str, fields: Fields) -> Decided | list[Outcome]:
    """Read one entry of a bucket's stream.

    Raises
    ------
    LogCodecError
        If a field is missing, or the type is not known.
    """
    try:
        kind = fields[b"t"]
        if kind == b"decided":
            return parse_decided(
                bucket, position, fields[b"h"], fields[b"c"], fields[b"x"], fields.get(b"f", b"")
            )
        if kind == b"outcome":
            return [_outcome(bucket, position, fields)]
        if kind in (b"expired", b"released", b"withdrawn"):
            return _closed(bucket, position, fields)
    except (KeyError, ValueError) as error:
        raise LogCodecError(f"entry {position} of bucket {bucket} cannot be read: {error!r}") from error
    raise LogCodecError(f"entry {position} of bucket {bucket} has the unknown type {kind!r}")


def parse_decided(
    bucket: int,
    position: str,
    header: bytes,
    candidates: bytes,
    base_propensities: bytes,
    factors: bytes = b"",
) -> Decided:
    """Read a decision from its parts, as they are in the stream and in Postgres."""
    return Decided(
        bucket,
        position,
        parse_header(header),
        np.frombuffer(candidates, dtype="<u4").astype(np.uint32),
        np.frombuffer(base_propensities, dtype="<f4").astype(np.float32),
        np.frombuffer(factors, dtype="<f8").astype(np.float64).reshape(2, -1) if factors else None,
    )


def taken_back(decided: Decided, outcomes: Iterable[Outcome]) -> bool:
    """Whether a decision was withdrawn, because its answer could not be delivered. ``outcomes``: those of its id."""
    at_ms = decided.header["decided_at_ms"]
    return any(o.outcome == "withdrawn" and o.decided_at_ms == at_ms for o in outcomes)


def _outcome(bucket: int, position: str, f: Fields) -> Outcome:
    return Outcome(
        bucket=bucket,
        position=position,
        decision_id=f[b"id"].decode(),
        decided_at_ms=int(f[b"d"]),
        offer_id=f[b"o"].decode(),
        offer=int(f[b"n"]),
        outcome=f[b"k"].decode(),
        value=float(f[b"v"]) if f[b"v"] else None,
        at_ms=int(f[b"at"]),
        recorded_ms=int(f[b"ts"]),
        late=f[b"l"] == b"1",
        reward=float(f[b"r"]) if f[b"r"] else None,
        base_propensity=float(f[b"q"]),
        policy=f[b"p"].decode(),
        placement=f[b"pl"].decode(),
        **_expected(f.get(b"e", b"").decode()),
        facts=parse_facts(f.get(b"f", b"")),
    )


def _closed(bucket: int, position: str, f: Fields) -> list[Outcome]:
    outcomes = []
    facts = parse_facts(f.get(b"f", b""))
    for item in f[b"o"].decode().split(","):
        if not item:
            continue
        offer_id, number, base_propensity, reward, *more = item.split(" ")
        outcomes.append(
            Outcome(
                bucket=bucket,
                position=position,
                decision_id=f[b"id"].decode(),
                decided_at_ms=int(f[b"d"]),
                offer_id=offer_id,
                offer=int(number),
                outcome=f[b"t"].decode(),
                value=None,
                at_ms=int(f[b"at"]),
                recorded_ms=int(f[b"ts"]),
                late=False,
                reward=None if reward == "-" else float(reward),
                base_propensity=float(base_propensity),
                policy=f[b"p"].decode(),
                placement=f[b"pl"].decode(),
                **_expected(more[0] if more else ""),
                facts=facts,
            )
        )
    return outcomes


def outcome_fields(outcome: Outcome) -> list[str]:
    """The fields of an ``outcome`` entry, alternating names and values: the inverse of ``parse_entry``."""
    return [
        *("t", "outcome", "id", outcome.decision_id, "o", outcome.offer_id, "n", str(outcome.offer)),
        *("k", outcome.outcome, "v", "" if outcome.value is None else repr(outcome.value)),
        *("at", str(outcome.at_ms), "ts", str(outcome.recorded_ms), "d", str(outcome.decided_at_ms)),
        *("l", "1" if outcome.late else "0", "r", "" if outcome.reward is None else repr(outcome.reward)),
        *("q", base_propensity_text(outcome.base_propensity), "p", outcome.policy, "pl", outcome.placement),
        *("e", expected_text(outcome.estimate, outcome.worth), "f", facts_text(outcome.facts)),
    ]


def expected_text(estimate: float, worth: float) -> str:
    """What a decision expected of an offer: ``<propensity>:<value>``, empty if neither is known."""
    return "" if math.isnan(estimate) and math.isnan(worth) else f"{estimate!r}:{worth!r}"


def expected_of(header: Mapping[str, Any]) -> list[str]:
    """What a decision expected of each of its offers, as text."""
    unknown = [math.nan] * len(header["offers"])
    return [
        expected_text(estimate, offer["factors"]["V"] if offer["factors"] else math.nan)
        for estimate, offer in zip(header.get("expected", unknown), header["offers"], strict=True)
    ]


def _expected(text: str) -> dict[str, float]:
    estimate, _, worth = text.partition(":")
    return {"estimate": float(estimate), "worth": float(worth)} if text else {}


def facts_text(facts: Facts) -> str:
    """Facts as JSON, sorted by path; empty if there are none."""
    return to_json(dict(sorted(facts.items()))).decode() if facts else ""


def parse_facts(blob: bytes) -> Facts:
    """The inverse of ``facts_text``. Raises ``ValueError``."""
    return from_json(blob) if blob else NO_FACTS


def base_propensity_text(base_propensity: float) -> str:
    """A precomputed propensity as text; 9 digits give back the same float32."""
    return f"{base_propensity:.9g}"


def contact_text(group: str, goal: str, counts: bool, channel: str) -> str:
    """How contacts with a decided offer are remembered: ``<c or t> <group>:<goal> <channel>`` (t does not count)."""
    return f"{'c' if counts else 't'} {group}:{goal} {channel}"


def policy_of(key: str) -> dict[str, Any]:
    """A policy as answers and headers name it, of its ``name@version``."""
    name, _, version = key.rpartition("@")
    return {"name": name, "version": int(version)}


def group_of(header: Header) -> str:
    """The group that a decision was made for, also where it was logged before there were several."""
    if "group" in header:
        return str(header["group"])
    if header.get("source") == "history":
        return "imported"
    return "control" if header.get("control") else "champion"


def answer(header: Header) -> Header:
    """What the caller gets of a decision: the public part of its header, with the defaults if nothing was right."""
    found = {key: header[key] for key in ANSWER_KEYS}
    if header.get("defaults"):
        found["offers"] = header["defaults"]
    return found


def in_order(header: Header) -> Header:
    """An archived header, with the keys of its public part as they were given: Postgres sorts them."""
    found = header | {
        "policy": _sorted(header["policy"], ("name", "version")),
        "offers": [_offer_in_order(offer) for offer in header["offers"]],
    }
    if "defaults" in header:
        found["defaults"] = [_offer_in_order(offer) for offer in header["defaults"]]
    return found


def _offer_in_order(offer: Header) -> Header:
    treatment = offer["treatment"]
    if treatment is not None:
        treatment = _sorted(treatment, TREATMENT_KEYS)
        if treatment["script"] is not None:
            treatment["script"] = {
                "steps": [_sorted(step, ("step_id", "text")) for step in treatment["script"]["steps"]],
                "objections": [
                    _sorted(o, ("objection", "answer")) for o in treatment["script"]["objections"]
                ],
            }
    factors = offer["factors"] and _sorted(offer["factors"], "PCVL")
    return _sorted(offer, OFFER_KEYS) | {"factors": factors, "treatment": treatment}


def _sorted(values: Header, keys: Sequence[str]) -> Header:
    return {key: values[key] for key in keys}


ANSWER_KEYS: Sequence[str] = (
    "decision_id",
    "placement",
    "policy",
    "control",
    "offers",
    "nothing_right_now",
    "degraded",
    "feedback_until",
)
OFFER_KEYS: Sequence[str] = ("offer_id", "rank", "score", "factors", "probability", "treatment")
TREATMENT_KEYS: Sequence[str] = ("treatment_id", "channel", "language", "title", "message", "image", "script")

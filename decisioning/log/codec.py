"""The wire form of the log's records: entries of streams, and decisions that wait for outcomes.

A stream entry has a type ``t``. Fields have one meaning each, the same as in the hash of a waiting decision (see
``storage/lua/0_library.lua``); times are Unix milliseconds:

- ``decided``: ``id``, ``h`` (the decision, JSON), ``c`` (candidates' numbers, little-endian uint32), ``bp`` (their
  precomputed propensities, float32, NaN where there is none), ``cv`` (their ``C``, then their ``V``, float64; only if
  the request decided them).
- ``outcome``, one outcome of one offer: ``id``, ``d`` decided at, ``o`` offer, ``n`` its number, ``k`` kind, ``v``
  value, ``at`` happened at, ``ts`` recorded at, ``l`` 1 if late, ``r`` reward, ``q`` precomputed propensity,
  ``e`` ``<propensity>:<value>`` as they were expected, ``f`` facts (JSON), ``p`` policy, ``pl`` placement.
- ``expired`` and ``withdrawn``, one entry for all offers of a decision that were still open, and ``released``, for
  those whose reservations were given back because nobody said in time that they were presented (nothing is learned of
  it): ``id``, ``d``, ``at``, ``ts``, ``p``, ``pl``, ``f`` as above, and ``os``, the offers, separated by commas, each
  ``<offer> <number> <precomputed propensity> <reward or -> <propensity>:<value>``. An ``expired`` entry also has
  ``cl``: in the same form the offers that were answered before, with what came of them in time (``closed``).
- ``event``: see ``decisioning.model.logged_event``.
- ``start`` marks where a stream begins that lost its end; it says nothing.

All but the first carry all that is needed to learn from them, so no reader has to join. Earlier versions wrote ``x``
for ``bp`` and ``f`` for ``cv`` in ``decided``, and ``o`` for ``os``: entries of theirs are still read.

The contact history is a sorted set for each customer, whose scores are times.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from pydantic_core import from_json, to_json

from bandits.policy import NO_FACTS, Facts
from decisioning.errors import LogCodecError
from decisioning.model.decision import Contact, Decision, LoggedDecision, LoggedSignal, OfferContact
from decisioning.model.logged_event import LoggedEvent, event_of_fields
from decisioning.model.outcome import Outcome, parse_earned
from decisioning.model.position import StreamPosition
from decisioning.model.selection import Selection
from storage.clock import to_iso

Fields = Mapping[bytes, bytes]
Said = LoggedDecision | LoggedEvent | list[Outcome]
"""The content of one entry."""
_NUMBERS, _PROPENSITIES, _FACTORS = np.dtype("<u4"), np.dtype("<f4"), np.dtype("<f8")
EXPECTED_TOGETHER = 4
"""Offers whose expected propensities and values share a field of a waiting decision's hash."""


def _encodable(value: Any) -> Any:
    """Make of a subclass or a view what the encoder takes: it looks at exact types."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not part of any record")


# One of each for the process: making them is far slower than using them.
_ENCODER = msgspec.json.Encoder(enc_hook=_encodable)
_DECODER = msgspec.json.Decoder(Decision)


def encode_decision(decision: Decision) -> bytes:
    """Write a decision as JSON."""
    return _ENCODER.encode(decision)


def decode_decision(encoded: bytes) -> Decision:
    """Read a decision.

    Raises
    ------
    LogCodecError
        If it is not one.
    """
    try:
        return _DECODER.decode(encoded)
    except ValueError as error:
        raise LogCodecError(f"a decision cannot be read: {error}") from error


def answer_of(decision: Decision) -> dict[str, Any]:
    """Derive what the caller gets of a decision: its public part, with default offers behind those that were chosen.

    ``holdouts`` is only there if the customer was in one.
    """
    answer = {
        "decision_id": decision.decision_id,
        "placement": decision.placement,
        "policy": as_json(decision.policy),
        "control": decision.control,
        "offers": [as_json(offer) for offer in (*decision.offers, *(decision.default_offers or ()))],
        "nothing_right_now": bool(decision.nothing_right_now),
        "degraded": [str(reason) for reason in decision.degraded],
        "feedback_until": decision.feedback_until,
    }
    if decision.signals:
        answer["signals"] = [_answered_signal(signal) for signal in decision.signals]
    if decision.holdouts is not None:
        answer["holdouts"] = [*decision.holdouts]
    return answer


def _answered_signal(signal: LoggedSignal) -> dict[str, Any]:
    until = None if signal.until_ms is None else to_iso(signal.until_ms)
    return {"signal": signal.signal, "reason": signal.reason, "name": signal.name, "until": until}


def as_json(value: Any) -> Any:
    """Make plain dictionaries and sequences of a part of a decision, with the names that it has in JSON."""
    # Names in order: Postgres keeps them in one of its own, and an answer that is repeated is the same.
    return msgspec.to_builtins(value, enc_hook=_encodable, order="deterministic")


def candidate_bytes(of: Selection | LoggedDecision) -> tuple[bytes, bytes, bytes]:
    """Write candidates, their precomputed propensities, and ``C`` and ``V`` (empty if the catalogue tells them)."""
    return (
        of.candidates.astype(_NUMBERS, copy=False).tobytes(),
        of.base_propensities.astype(_PROPENSITIES, copy=False).tobytes(),
        b"" if of.factors is None else of.factors.astype(_FACTORS, copy=False).tobytes(),
    )


def parse_entry(bucket: int, position: StreamPosition, fields: Fields) -> Said:
    """Read one entry of a bucket's stream.

    Raises
    ------
    LogCodecError
        If a field is missing or cannot be read, or the type is not known. It names the entry and the bucket.
    """
    try:
        kind = fields[b"t"]
        if kind == b"decided":
            is_old = b"bp" not in fields  # then f holds factors; this version writes facts into it elsewhere
            base_propensities = fields[b"x" if is_old else b"bp"]
            factors = fields.get(b"f" if is_old else b"cv", b"")
            return parse_decided(bucket, position, fields[b"h"], fields[b"c"], base_propensities, factors)
        if kind == b"outcome":
            return [_outcome(bucket, position, fields)]
        if kind in (b"expired", b"released", b"withdrawn"):
            return _closed(bucket, position, fields)
        if kind == b"event":
            return event_of_fields(bucket, position, fields)
    except (KeyError, ValueError) as error:
        raise LogCodecError(f"entry {position} of bucket {bucket} cannot be read: {error!r}") from error
    raise LogCodecError(f"entry {position} of bucket {bucket} has the unknown type {kind!r}")


def parse_decided(
    bucket: int,
    position: StreamPosition,
    encoded: bytes,
    candidates: bytes,
    base_propensities: bytes,
    factors: bytes = b"",
) -> LoggedDecision:
    """Read a decision from its parts, as they are in the stream and in Postgres.

    Raises
    ------
    LogCodecError
        If a part cannot be read. It names the entry and the bucket.
    """
    try:
        return LoggedDecision(
            bucket,
            position,
            _DECODER.decode(encoded),
            np.frombuffer(candidates, _NUMBERS),
            np.frombuffer(base_propensities, _PROPENSITIES),
            np.frombuffer(factors, _FACTORS).reshape(2, -1) if factors else None,
            encoded,
        )
    except ValueError as error:
        raise LogCodecError(
            f"the decision at {position} of bucket {bucket} cannot be read: {error}"
        ) from error


def _outcome(bucket: int, position: StreamPosition, f: Fields) -> Outcome:
    estimate, worth = _expected(f.get(b"e", b"").decode())
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
        earned=parse_earned(f.get(b"g", b"").decode()),
        reason=f.get(b"rs", b"").decode() or None,
        causes=parse_causes(f.get(b"sp", b"").decode()),
        facts=parse_facts(f.get(b"f", b"")),
        silence_ms=int(f[b"z"]) if f.get(b"z") else None,
        estimate=estimate,
        worth=worth,
    )


def _closed(bucket: int, position: StreamPosition, f: Fields) -> list[Outcome]:
    outcomes = []
    facts = parse_facts(f.get(b"f", b""))
    kind = f[b"t"].decode()
    items = [(kind, item) for item in (f[b"os"] if b"os" in f else f[b"o"]).decode().split(",")]
    items += [("closed", item) for item in f.get(b"cl", b"").decode().split(",")]
    for outcome, item in items:
        if not item:
            continue
        offer_id, number, base_propensity, reward, *more = item.split(" ")
        estimate, worth = _expected(more[0] if more else "")
        outcomes.append(
            Outcome(
                bucket=bucket,
                position=position,
                decision_id=f[b"id"].decode(),
                decided_at_ms=int(f[b"d"]),
                offer_id=offer_id,
                offer=int(number),
                outcome=outcome,
                value=None,
                at_ms=int(f[b"at"]),
                recorded_ms=int(f[b"ts"]),
                late=outcome == "closed",
                reward=None if reward == "-" else float(reward),
                base_propensity=float(base_propensity),
                policy=f[b"p"].decode(),
                placement=f[b"pl"].decode(),
                estimate=estimate,
                worth=worth,
                facts=NO_FACTS if outcome == "closed" else facts,
                silence_ms=int(more[1]) if more[1:] and more[1] else None,
            )
        )
    return outcomes


def decided_fields(logged: LoggedDecision) -> list[str | bytes]:
    """Write a ``decided`` entry, alternating names and values: the inverse of ``parse_entry``."""
    candidates, base_propensities, factors = candidate_bytes(logged)
    fields: dict[str, str | bytes] = {
        "t": "decided",
        "id": logged.decision_id,
        "h": encode_decision(logged.decision),
        "c": candidates,
        "bp": base_propensities,
    }
    if factors:
        fields["cv"] = factors
    return [part for pair in fields.items() for part in pair]


def outcome_fields(outcome: Outcome) -> list[str]:
    """Write an ``outcome`` entry, alternating names and values: the inverse of ``parse_entry``."""
    fields = {
        "t": "outcome",
        "id": outcome.decision_id,
        "o": outcome.offer_id,
        "n": str(outcome.offer),
        "k": outcome.outcome,
        "v": "" if outcome.value is None else repr(outcome.value),
        "at": str(outcome.at_ms),
        "ts": str(outcome.recorded_ms),
        "d": str(outcome.decided_at_ms),
        "l": "1" if outcome.late else "0",
        "r": "" if outcome.reward is None else repr(outcome.reward),
        "q": base_propensity_text(outcome.base_propensity),
        "p": outcome.policy,
        "pl": outcome.placement,
        "e": expected_text(outcome.estimate, outcome.worth),
        "f": facts_text(outcome.facts),
        "z": "" if outcome.silence_ms is None else str(outcome.silence_ms),
    }
    if outcome.earned is not None:
        fields["g"] = outcome.earned.text
    if outcome.reason is not None:
        fields["rs"] = outcome.reason
    if outcome.causes:
        fields["sp"] = ",".join(outcome.causes)
    return [text for pair in fields.items() for text in pair]


def waiting_fields(logged: LoggedDecision) -> dict[str, str | bytes | int]:
    """The hash of an archived decision that waits for outcomes, as ``nb_decide`` writes it."""
    decision = logged.decision
    fields: dict[str, str | bytes | int] = {
        "cu": decision.customer_id,
        "d": decision.decided_at_ms,
        "u": decision.until_ms,
        "p": decision.policy.key,
        "pl": decision.placement,
        "m": decision.presentation,
        "w": 0 if decision.contacts is None else decision.contacts.keep_ms,
        "os": ",".join(offer.offer_id for offer in decision.offers),
    }
    if facts := facts_text(decision.facts or NO_FACTS):
        fields["f"] = facts
    if decision.counts_silence:
        fields["z"] = "1"
    if decision.noted:
        fields["sg"] = ",".join(decision.noted)
    if decision.household is not None:
        fields["hh"] = decision.household
    contacts, expected = decision.offer_contacts(), expected_numbers(decision)
    for n, offer in enumerate(decision.offers):
        number = decision.numbers[n]
        base_propensity = base_propensity_text(logged.base_propensity(number))
        contact = contact_text(contacts[n], decision.channel or "")
        fields[f"o:{offer.offer_id}"] = f"{number} {base_propensity} {contact}"
    for first in range(0, len(expected), EXPECTED_TOGETHER):
        together = np.array(expected[first : first + EXPECTED_TOGETHER], dtype="<f8")
        fields[f"e{first}"] = together.tobytes()
    return fields


def marked_position(mark: bytes, decided_at: bytes) -> StreamPosition:
    """Read where in the log the record of a waiting decision is: its fields ``x`` and ``d``."""
    after_ms, _, sequence = mark.partition(b":")
    return StreamPosition(f"{int(decided_at) + int(after_ms)}-{int(sequence or 0)}")


def expected_text(estimate: float, worth: float) -> str:
    """Write what a decision expected of an offer: ``<propensity>:<value>``, empty if neither is known."""
    return "" if math.isnan(estimate) and math.isnan(worth) else f"{estimate!r}:{worth!r}"


def expected_of(decision: Decision) -> list[str]:
    """Write what a decision expected of each of its offers."""
    return [expected_text(*numbers) for numbers in expected_numbers(decision)]


def expected_numbers(decision: Decision) -> list[tuple[float, float]]:
    """Return the propensity and the value that a decision expected of each of its offers, NaN where not known."""
    estimates = decision.expected or (math.nan,) * len(decision.offers)
    return [
        (estimate, math.nan if offer.factors is None else offer.factors.V)
        for estimate, offer in zip(estimates, decision.offers, strict=True)
    ]


def _expected(text: str) -> tuple[float, float]:
    """Read the propensity and the value that a decision expected, NaN if they are not known."""
    estimate, _, worth = text.partition(":")
    return (float(estimate), float(worth)) if text else (math.nan, math.nan)


def parse_causes(text: str) -> tuple[str, ...]:
    """Read what an outcome suppresses offers for, from its text with commas."""
    return tuple(text.split(",")) if text else ()


def facts_text(facts: Facts) -> str:
    """Write facts as JSON, sorted by path; empty if there are none."""
    return to_json(dict(sorted(facts.items()))).decode() if facts else ""


def parse_facts(blob: bytes) -> Facts:
    """Read facts: the inverse of ``facts_text``. Raises ``ValueError``."""
    return from_json(blob) if blob else NO_FACTS


def base_propensity_text(base_propensity: float) -> str:
    """Write a precomputed propensity; 9 digits give back the same float32."""
    return f"{base_propensity:.9g}"


def contact_text(contact: OfferContact, channel: str) -> str:
    """Write how contacts with an offer are remembered: ``<c or t> <group>:<goal> <channel>`` (t does not count)."""
    return f"{'c' if contact.counts else 't'} {contact.group}:{contact.goal} {channel}"


def history_member(contact: Contact, decision_id: str) -> str:
    """Write a contact as a member of its sorted set: ``<number>:<group>:<goal>:<kind>:<channel>:<decision>``."""
    return ":".join(
        (str(contact.offer), contact.group, contact.goal, contact.kind, contact.channel, decision_id)
    )


def event_mark(event_id: str) -> str:
    """Return what stands in the place of the decision's id in a contact that an event is."""
    return f"event:{event_id}"


def maker_of(member: bytes) -> str | None:
    """Return the id of the decision, or the mark of the event, that a member of a history came of, if any."""
    parts = member.decode().split(":", 5)
    return parts[5] if len(parts) == 6 else None


def is_decided(member: str) -> bool:
    """Return whether a member of a history says that a contact was decided, which limits per household count."""
    parts = member.split(":", 5)
    return len(parts) == 6 and parts[3] == "d"


def parse_history(reply: Sequence[bytes], but_of: tuple[str, int] | None = None) -> list[Contact]:
    """Parse the reply of ``ZRANGE key 0 -1 WITHSCORES``: alternating members and scores, the oldest contact first.

    Members of another form, as earlier versions wrote them, are left out; so are those of a decision since a time,
    ``but_of`` (its id, Unix ms).
    """
    found = []
    for name, score in zip(reply[::2], reply[1::2], strict=True):
        # At most five splits: ids of decisions, which come last, may hold colons themselves.
        parts = name.decode().split(":", 5)
        if len(parts) == 6:
            number, group, goal, kind, channel, decision_id = parts
            at_ms = int(float(score))
            if but_of is None or decision_id != but_of[0] or at_ms < but_of[1]:
                found.append(Contact(int(number), at_ms, group, goal, kind, channel))
    return found

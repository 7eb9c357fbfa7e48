"""`nextbest size`: the memory that Redis needs, from the figures of this installation or from planned ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import typer

from app.commands.log import with_state
from app.state import ApiState
from decisioning.log.owners import GRACE_MS, owner_ttl_ms
from decisioning.log.store_size import KeysOfKind, LastDay, SizeReader, read_last_day
from storage.clock import DAY_MS
from storage.postgres import PATIENT_S, make_engine

DAY_S = 86_400
PENDING_BYTES = 124
"""A waiting decision's place in the set of those whose windows end."""
OUTCOME_BYTES = 300
"""An outcome in the log."""
TYPICAL: Mapping[str, float] = {"decision": 405, "profile": 2_100, "contact": 340, "owner": 110}
"""Bytes of a key (see the README), where an installation has fewer than ``LEAST_SAMPLED`` of them."""
LEAST_SAMPLED = 20
SMALL_VALUE = 256
"""The longest value of a hash that should be stored in its small form; see ``hash-max-listpack-value``."""


@dataclass(frozen=True, slots=True)
class Load:
    """The load of an installation: rates, and the customers whose profiles and contacts are kept.

    ``waits_s``: how long a decision stays, on average. ``note_s``: how long it is known whose an own id is.
    """

    decisions_per_s: float
    outcomes_per_decision: float
    waits_s: float
    own_ids: float
    note_s: float
    record_bytes: float
    profiles: int
    contacts: int
    retain_s: int
    arms_bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """A part of the memory."""

    name: str
    count: float
    bytes_each: float

    @property
    def bytes(self) -> float:
        """The bytes of all of them."""
        return self.count * self.bytes_each


def parts_of(load: Load, bytes_of: Mapping[str, float]) -> list[Row]:
    """Compute the parts of the memory. ``bytes_of``: of a key of each kind, as in ``TYPICAL``."""
    rate = load.decisions_per_s
    record = load.record_bytes + load.outcomes_per_decision * OUTCOME_BYTES
    return [
        Row("waiting decisions", rate * load.waits_s, bytes_of["decision"] + PENDING_BYTES),
        Row("notes of callers' own ids", rate * load.own_ids * load.note_s, bytes_of["owner"]),
        Row("profiles in the cache", load.profiles, bytes_of["profile"]),
        Row("contact histories", load.contacts, bytes_of["contact"]),
        Row(f"decisions in the log, {load.retain_s} s", rate * load.retain_s, record),
        Row("arms", 1, load.arms_bytes),
    ]


def load_of(
    day: LastDay, windows_s: Mapping[str, int], kinds: Mapping[str, KeysOfKind], retain_s: int, arms: int
) -> Load:
    """Derive the load from the last day. ``windows_s``: reward windows by placement."""
    mean_s = sum(windows_s.values()) / len(windows_s) if windows_s else 7 * DAY_S
    window_s = sum(share * windows_s.get(p, mean_s) for p, share in day.placements.items()) or mean_s
    return Load(
        decisions_per_s=day.decisions / DAY_S,
        outcomes_per_decision=day.outcomes / day.decisions if day.decisions else 2.0,
        waits_s=window_s + GRACE_MS / 1000,
        own_ids=day.own_ids,
        note_s=owner_ttl_ms(int(window_s * 1000)) / 1000,
        record_bytes=day.record_bytes or 4_000,
        profiles=kinds["profile"].count,
        contacts=kinds["contact"].count,
        retain_s=retain_s,
        arms_bytes=arms,
    )


def size(decisions_per_second: float | None, customers: int | None) -> None:
    """Print how much Redis this installation needs, by parts."""

    async def work(state: ApiState) -> tuple[Load, dict[str, KeysOfKind], int, int]:
        # Counting a day takes longer than the state's own engine lets a statement run.
        engine = make_engine(str(state.settings.postgres_url), pool_size=1, statement_s=PATIENT_S)
        try:
            day = await read_last_day(engine)
        finally:
            await engine.dispose()
        reader = SizeReader(state.redis, state.keys)
        kinds = await reader.by_kind()
        arms = await reader.arms(sorted(state.roster.learning()))
        placements = state.current_catalogue().placements
        windows_s = {name: placement.reward_window_s for name, placement in placements.items()}
        return (
            load_of(day, windows_s, kinds, state.settings.log_retain_s, arms),
            kinds,
            *await reader.server(),
        )

    load, kinds, used, longest_small = with_state(work)
    if decisions_per_second is not None:
        load = replace(load, decisions_per_s=decisions_per_second)
    if customers is not None:
        load = replace(load, profiles=customers, contacts=customers)
    bytes_of = {
        kind: found.bytes_each if found.sampled >= LEAST_SAMPLED else TYPICAL[kind]
        for kind, found in kinds.items()
    }
    rows = parts_of(load, bytes_of)
    typer.echo(
        f"{load.decisions_per_s:,.2f} decisions/s, which wait {load.waits_s * 1000 / DAY_MS:.1f} days on average"
    )
    for row in rows:
        typer.echo(
            f"{row.name:<30}{row.count:>16,.0f} x {row.bytes_each:>9,.0f} B = {_readable(row.bytes):>11}"
        )
    typer.echo(f"{'in all':<30}{'':>16}   {'':>9}     {_readable(sum(row.bytes for row in rows)):>11}")
    typer.echo(f"redis uses {_readable(used)} now; leave half as much again free, for copies while it saves")
    if 0 < longest_small < SMALL_VALUE:
        typer.echo(
            f"hash-max-listpack-value is {longest_small}: with {SMALL_VALUE}, decisions with facts that policies"
            " learn from, or with long ids, take less"
        )


def _readable(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:,.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:,.1f} GiB"

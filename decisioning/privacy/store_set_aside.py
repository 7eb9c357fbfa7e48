"""Entries about a customer that were set aside: of the log, which could not be archived, and events of the inbox."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from decisioning.log.store_dead_letters import INBOX, DeadLetter, DeadLetters
from decisioning.privacy.entries import StreamEntry, customer_in_inbox, is_decision_for, is_event_of
from storage.postgres import transaction

_THEIRS = text(
    "SELECT decision_id FROM decisions WHERE customer_id = :customer_id AND decision_id = ANY(:ids)"
)


class SetAside:
    """Reads what was set aside. Methods raise ``PostgresUnavailable``."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def of(
        self, customer_id: str, bucket: int, ids: set[str], *, doubtful: bool = False
    ) -> list[DeadLetter]:
        """Read the entries of a customer, whose bucket is ``bucket``, in the order in which they were set aside.

        ``ids``: decisions of the customer that are known; those that were set aside, or that something set aside is
        about, are added. ``doubtful``: also events of the inbox of which nobody can tell whose they are.
        """
        letters = await DeadLetters(self._engine).all()
        ids |= {_decision_id(one) for one in letters if _is_decision(one, bucket, customer_id)}
        others = {_decision_id(one) for one in letters if one.bucket == bucket} - ids
        if others:
            async with transaction(self._engine) as connection:
                values = {"customer_id": customer_id, "ids": sorted(others)}
                ids |= set((await connection.scalars(_THEIRS, values)).all())
        return list(_pick(letters, customer_id, bucket, ids, doubtful=doubtful))


def _pick(
    letters: Iterable[DeadLetter], customer_id: str, bucket: int, ids: set[str], *, doubtful: bool
) -> Iterable[DeadLetter]:
    for one in letters:
        if one.bucket == INBOX:
            named = customer_in_inbox(one.fields)
            if named == customer_id or (named is None and doubtful):
                yield one
        elif one.bucket == bucket and (
            _is_decision(one, bucket, customer_id)
            or is_event_of(one.fields, customer_id)
            or _decision_id(one) in ids
        ):
            yield one


def _is_decision(letter: DeadLetter, bucket: int, customer_id: str) -> bool:
    return letter.bucket == bucket and is_decision_for(letter.fields, customer_id)


def _decision_id(letter: DeadLetter) -> str:
    return StreamEntry(letter.position, letter.fields).decision_id

"""Positions in lists by time: what `next` of a page says, a time (Unix ms) and an id, and the next request sends."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator

from decisioning.log.store_dead_letters import Moment, letter_id, place_of
from storage.clock import floor_ms, to_datetime

_MAX_MS = 253_402_300_799_999
"""The end of the year 9999."""


class CursorForm:
    """Cursors whose ids are of one form, a regular expression."""

    def __init__(self, id_form: str) -> None:
        self._form = re.compile(rf"(\d{{1,15}}):({id_form})", re.ASCII)

    def parse(self, cursor: str) -> tuple[int, str]:
        """Return the time and the id. Raises ``ValueError``."""
        found = self._form.fullmatch(cursor)
        if found is None or int(found[1]) > _MAX_MS:
            raise ValueError("must be what `next` of the page before said")
        return int(found[1]), found[2]

    def check(self, cursor: str) -> str:
        """Return the cursor as it is. Raises ``ValueError``."""
        self.parse(cursor)
        return cursor


DECISIONS = CursorForm("[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
DecisionCursor = Annotated[str, AfterValidator(DECISIONS.check)]
FIRINGS = CursorForm("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
FiringCursor = Annotated[str, AfterValidator(FIRINGS.check)]
_LETTERS = CursorForm(r"\d{3}:(?:events|\d{1,5}):\d{1,20}-\d{1,20}")
LetterCursor = Annotated[str, AfterValidator(_LETTERS.check)]


def letter_cursor(moment: Moment) -> str:
    """Write a place among what was set aside as a cursor, to the microsecond: many are set aside in one moment."""
    at, bucket, position = moment
    return f"{floor_ms(at)}:{at.microsecond % 1000:03d}:{letter_id(bucket, position)}"


def parse_letter_cursor(cursor: str) -> Moment:
    """Read a place among what was set aside. Raises ``ValueError``."""
    at_ms, rest = _LETTERS.parse(cursor)
    micros, _, name = rest.partition(":")
    return to_datetime(at_ms) + timedelta(microseconds=int(micros)), *place_of(name)

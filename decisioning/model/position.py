"""Positions in the streams of the log."""

from typing import ClassVar


class StreamPosition(str):
    """The id of a stream entry, ``<ms>-<sequence>``: a string that is ordered as Redis orders entries.

    Equal positions are equal strings, so that it can stand in for one as a key, in SQL and in JSON.
    """

    __slots__ = ()
    START: ClassVar["StreamPosition"]
    """Before the first entry of any stream."""

    @property
    def parts(self) -> tuple[int, int]:
        """Unix ms and sequence, which sort as the position does. Sort many by these: they are parsed once each."""
        at_ms, _, sequence = self.partition("-")
        return int(at_ms), int(sequence or 0)

    @property
    def at_ms(self) -> int:
        """The time at which the entry was appended, by Redis's clock (Unix ms)."""
        return self.parts[0]

    def __lt__(self, other: str) -> bool:
        return self.parts < StreamPosition(other).parts

    def __le__(self, other: str) -> bool:
        return self.parts <= StreamPosition(other).parts

    def __gt__(self, other: str) -> bool:
        return self.parts > StreamPosition(other).parts

    def __ge__(self, other: str) -> bool:
        return self.parts >= StreamPosition(other).parts


StreamPosition.START = StreamPosition("0-0")

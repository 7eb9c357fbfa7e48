"""One warning about a catalogue, or about what was sent to try it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CatalogueWarning:
    """A value that was probably not meant: the path of the field, what is odd about it, and the way out."""

    field: str
    message: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message} ({self.way_out})"

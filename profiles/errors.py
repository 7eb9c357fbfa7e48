"""The one error root of this package."""

from collections.abc import Sequence


class ProfilesError(Exception):
    """The root of this package's errors."""


class InvalidCustomer(ProfilesError):
    """A customer cannot be stored as given. ``field`` names what is wrong, the message says why."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.reason = message


class UnconfirmedErasure(ProfilesError):
    """A new record would lack what the earlier one knew. ``lost``: each field, and what of it is lost."""

    def __init__(self, message: str, lost: Sequence[tuple[str, str]]) -> None:
        super().__init__(message)
        self.lost = tuple(lost)


class ErasedCustomer(ProfilesError):
    """A customer was erased on request, and is not to be stored again."""

    def __init__(self, customer_id: str) -> None:
        super().__init__(
            f"customer {customer_id!r} was erased on request and is kept out: let the id in again first, by"
            " DELETE /v1/customers/{customer_id}/erasure or nextbest customers readmit"
        )


class RegisterInUse(ProfilesError):
    """A change of a register would make its hashes useless."""

    def __init__(self, register_id: str) -> None:
        super().__init__(
            f"register {register_id!r} has entries, which were made of another field, form, country code or salt:"
            " put the new ones into another register, and delete this one when they are there"
        )


class SaltMissing(ProfilesError):
    """A new register was stored without the salt of its hashes. ``field`` and ``reason`` as of ``InvalidCustomer``."""

    def __init__(self, register_id: str) -> None:
        self.field = "salt"
        self.reason = f"is missing: register {register_id!r} is new; send that of its hashes, or an empty one"
        super().__init__(f"{self.field}: {self.reason}")


class ProfileCodecError(ProfilesError):
    """A cached profile cannot be read: a tombstone, another version, or damaged. Treat it as a miss."""


class ImportFileError(ProfilesError):
    """A file cannot be imported at all, and nothing of it was loaded.

    ``field`` names the column at fault, where there is one; the message says what to do about it. ``line``: that of the
    file, from 1, if it is known. ``mistakes``: all that were found, of which this is the first.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.line: int | None = None
        self.mistakes: tuple[ImportFileError, ...] = (self,)

    @classmethod
    def of(cls, mistakes: Sequence["ImportFileError"]) -> "ImportFileError":
        """Make one error of several; its message has the first three."""
        if len(mistakes) == 1:
            return mistakes[0]
        more = f"; and {len(mistakes) - 3} more" if len(mistakes) > 3 else ""
        error = cls("; ".join(map(str, mistakes[:3])) + more, mistakes[0].field)
        error.mistakes = tuple(mistakes)
        return error

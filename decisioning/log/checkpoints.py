"""Checkpoints of arms in Postgres: how they are packed, and the statements that write and find them.

A replay folds the archive up to where a policy's arms were at an epoch. From the last checkpoint before it, that is
little, however large the archive is. Positions of single folds are kept as well, since decisions between two
checkpoints are made again exactly; but not as rows: those up to a checkpoint lie packed in it.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from decisioning.model.position import StreamPosition

VERSION = b"\x01"
"""The form of what is packed, its first byte."""

Move = tuple[int, int, StreamPosition]
"""An epoch, and the position to which its fold moved a bucket."""

MAX_PACKED = 100_000
"""The most folds that are packed into a checkpoint. Where there are more, as earlier versions left them, they stay."""

FOLDED_AT = "SELECT bucket, position FROM folds WHERE policy = $1 AND epoch = $2"
LAST_CHECKPOINT = "SELECT coalesce(max(epoch), -1) FROM arm_checkpoints WHERE policy = $1"
FOLDS_BEHIND = (
    "SELECT epoch, bucket, position FROM folds WHERE policy = $1 AND epoch > $2 AND epoch <= $3"
    " ORDER BY epoch, bucket LIMIT $4"
)
INSERT_CHECKPOINT = (
    "INSERT INTO arm_checkpoints (policy, epoch, arms, moves) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
)
# The last epoch stays: it says up to where folds are archived.
DELETE_FOLDS = "DELETE FROM folds WHERE policy = $1 AND epoch > $2 AND epoch < $3"
LOCK_CHECKPOINTS = "SELECT pg_advisory_xact_lock(hashtext('arm_checkpoints ' || $1))"

FIND_BASE = (
    "SELECT epoch, arms FROM arm_checkpoints WHERE policy = :policy AND epoch <= :epoch"
    " ORDER BY epoch DESC LIMIT 1"
)
FIND_PACKED_MOVES = (
    "SELECT moves FROM arm_checkpoints WHERE policy = :policy AND epoch > :epoch ORDER BY epoch LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The arms of a policy at an epoch: positions by bucket, and fields in their stored form."""

    epoch: int
    positions: Mapping[int, StreamPosition]
    fields: Mapping[str, bytes]

    def pack(self) -> bytes:
        """Write positions and fields."""
        return _pack((dict(self.positions), dict(self.fields)))

    @classmethod
    def unpack(cls, epoch: int, packed: bytes) -> "Checkpoint":
        """Read what ``pack`` wrote. Raises ``ValueError`` if it is of another form."""
        positions, fields = msgspec.msgpack.decode(
            _unpacked(packed), type=tuple[dict[int, str], dict[str, bytes]]
        )
        return cls(epoch, {bucket: StreamPosition(at) for bucket, at in positions.items()}, fields)


def pack_moves(moves: Iterable[Move]) -> bytes:
    """Write folds, in their order."""
    return _pack([list(move) for move in moves])


def unpack_moves(packed: bytes) -> list[Move]:
    """Read what ``pack_moves`` wrote. Raises ``ValueError`` if it is of another form."""
    found = msgspec.msgpack.decode(_unpacked(packed), type=list[tuple[int, int, str]])
    return [(epoch, bucket, StreamPosition(at)) for epoch, bucket, at in found]


def _pack(value: object) -> bytes:
    encoded = msgspec.msgpack.encode(value, enc_hook=str)
    return VERSION + zlib.compress(encoded, level=1)


def _unpacked(packed: bytes) -> bytes:
    if packed[:1] != VERSION:
        raise ValueError(f"a checkpoint of an unknown form {packed[:1]!r}: a later version wrote it")
    try:
        return zlib.decompress(packed[1:])
    except zlib.error as error:
        raise ValueError(f"a checkpoint is damaged: {error}") from error

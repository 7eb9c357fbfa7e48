"""A Redis server as it describes itself: which one it is, and whether it may be trusted with decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

LEAST_VERSION = (7, 0)
"""Functions came with Redis 7; Valkey went on from there."""

REFUSALS = {
    "OOM": "its memory is full (maxmemory)",
    "READONLY": "it is a replica",
    "MISCONF": "it cannot save to its disk (MISCONF)",
    "NOREPLICAS": "too few replicas are connected (min-replicas-to-write)",
    "NOPERM": "the user may not write",
    "LOADING": "it is loading its data",
}
"""What Redis answers a write with, by the first word, and what that means."""


def describe_refusal(said: str) -> str:
    """Say why Redis refuses a write, by the error that it answers; nothing of its text is quoted."""
    code = said.split(" ", 1)[0]
    known = code.isalpha() and code.isupper()
    return f"refuses writes: {REFUSALS.get(code, code if known else 'for an unknown reason')}"


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server by its ``INFO``. ``run_id``: differs after each start, and on each replica; ``""`` if untold."""

    run_id: str = ""
    version: str = ""
    uptime_s: int = 0
    maxmemory: int = 0
    maxmemory_policy: str = "noeviction"
    has_append_only_file: bool = True

    @classmethod
    def from_info(cls, info: Mapping[str, str]) -> Self:
        """Take what matters out of the fields of ``INFO``."""
        return cls(
            run_id=info.get("run_id", ""),
            version=info.get("valkey_version") or info.get("redis_version", ""),
            uptime_s=int(info.get("uptime_in_seconds", "0")),
            maxmemory=int(info.get("maxmemory", "0")),
            maxmemory_policy=info.get("maxmemory_policy", "noeviction"),
            has_append_only_file=info.get("aof_enabled", "1") == "1",
        )

    @classmethod
    def parse(cls, reply: bytes) -> Self:
        """Parse the reply to ``INFO``."""
        lines = (line.partition(":") for line in reply.decode("utf-8", "replace").splitlines())
        return cls.from_info({name: value for name, colon, value in lines if colon})

    @property
    def fault(self) -> str | None:
        """Say why decisions must not be kept there, and what to do; ``None`` if they may be."""
        parts = tuple(int(part) for part in self.version.split(".")[:2] if part.isdigit())
        if parts and parts < LEAST_VERSION:
            return f"redis {self.version} has no functions: use Redis 7 or Valkey 7.2, or a later one"
        if self.maxmemory and self.maxmemory_policy != "noeviction":
            return (
                f"redis may drop decisions and contacts (maxmemory-policy is {self.maxmemory_policy}):"
                " set maxmemory-policy to noeviction"
            )
        return None

    @property
    def warning(self) -> str | None:
        """Say what may be meant so, and loses what was acknowledged if Redis ends; ``None`` if there is nothing."""
        found = []
        if not self.has_append_only_file:
            found.append(
                "redis keeps no append-only file, so it forgets decisions when it ends: set appendonly to yes"
            )
        if self.maxmemory_policy != "noeviction":
            # With a maxmemory that is a fault; there is none yet.
            found.append(
                f"redis will drop decisions once a maxmemory is set (maxmemory-policy is {self.maxmemory_policy}):"
                " set maxmemory-policy to noeviction"
            )
        return "; ".join(found) or None

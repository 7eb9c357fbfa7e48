"""What a server tells of itself, and whether it may be trusted with decisions."""

import pytest

from storage.redis_server import RedisServer, describe_refusal

INFO = b"""# Server\r
redis_version:7.2.4\r
valkey_version:8.1.1\r
run_id:0123abcd\r
uptime_in_seconds:12\r
\r
# Memory\r
maxmemory:1000000\r
maxmemory_policy:noeviction\r
# Persistence\r
aof_enabled:1\r
"""


def test_a_server_is_read_from_its_description() -> None:
    server = RedisServer.parse(INFO)
    assert server == RedisServer("0123abcd", "8.1.1", 12, 1_000_000, "noeviction", True)
    assert server.fault is None
    assert server.warning is None


@pytest.mark.parametrize(
    ("told", "instead", "fault"),
    [
        (b"noeviction", b"volatile-lru", "maxmemory-policy is volatile-lru"),
        (b"noeviction", b"allkeys-lfu", "set maxmemory-policy to noeviction"),
        (b"valkey_version:8.1.1", b"redis_version:6.2.14", "has no functions"),
        (
            b"maxmemory:1000000\r\nmaxmemory_policy:noeviction",
            b"maxmemory:0\r\nmaxmemory_policy:volatile-lru",
            None,
        ),
        (b"valkey_version:8.1.1", b"redis_version:unknown", None),
    ],
)
def test_a_server_that_may_lose_decisions_is_named(told: bytes, instead: bytes, fault: str | None) -> None:
    found = RedisServer.parse(INFO.replace(told, instead)).fault
    assert (found is None) == (fault is None)
    assert fault is None or fault in (found or "")


def test_a_server_without_a_file_is_warned_of() -> None:
    warning = RedisServer.parse(INFO.replace(b"aof_enabled:1", b"aof_enabled:0")).warning
    assert warning is not None
    assert "appendonly" in warning
    assert RedisServer().warning is None  # one that does not describe itself


@pytest.mark.parametrize(
    ("said", "described"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", "refuses writes: its memory is full"),
        ("READONLY You can't write against a read only replica.", "refuses writes: it is a replica"),
        ("MISCONF Errors writing to the AOF file: secret", "refuses writes: it cannot save to its disk"),
        ("CLUSTERDOWN The cluster is down", "refuses writes: CLUSTERDOWN"),
        ("secret what is this", "refuses writes: for an unknown reason"),
    ],
)
def test_refused_writes_are_described_by_what_redis_answers(said: str, described: str) -> None:
    assert describe_refusal(said).startswith(described)
    assert "secret" not in describe_refusal(said)

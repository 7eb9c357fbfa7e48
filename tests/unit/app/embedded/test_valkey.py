"""The embedded Valkey: durable, and closed to others."""

from pathlib import Path

import pytest
import redis

from app.embedded.servers import EmbeddedServers


def test_valkey_keeps_an_append_only_file_and_asks_for_a_password(servers: EmbeddedServers) -> None:
    with redis.Redis.from_url(servers.urls.redis_url) as client:
        settings = client.config_get("appendonly", "appendfsync", "save", "maxmemory-policy")
    assert settings == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    without_password = "redis://" + servers.urls.redis_url.rpartition("@")[2]
    with redis.Redis.from_url(without_password) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_killed_redis_comes_back_with_all_that_it_acknowledged(folder: Path) -> None:
    servers = EmbeddedServers(folder, fsync=False)
    urls = servers.start()
    with redis.Redis.from_url(urls.redis_url) as client:
        for number in range(1000):
            client.rpush("numbers", number)
        servers.kill_redis()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        servers.start_redis()
        assert servers.urls == urls
        assert client.llen("numbers") == 1000
    servers.stop()

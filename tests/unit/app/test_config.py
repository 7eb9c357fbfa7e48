"""Settings are read from the environment, and mistakes are named."""

import os
from pathlib import Path

import pytest

from app.config import ConfigError, Settings, get_settings
from app.servers import server_urls

POSTGRES = "postgresql://u:secret-a@db/nextbest"
REDIS = "redis://:secret-b@cache:6379/0"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("NEXTBEST_"):
            monkeypatch.delenv(name)


def test_defaults() -> None:
    settings = get_settings()
    assert (settings.host, settings.port, settings.workers, settings.buckets) == ("127.0.0.1", 8000, 1, 64)
    assert settings.data_dir == Path("var")
    assert settings.postgres_url is None
    assert settings.redis_url is None


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_PORT", "8123")
    monkeypatch.setenv("NEXTBEST_COMPILED", "0")
    monkeypatch.setenv("NEXTBEST_DATA_DIR", "/srv/nextbest")
    settings = get_settings()
    assert (settings.port, settings.compiled) == (8123, "0")
    assert settings.data_dir == Path("/srv/nextbest")


def test_unknown_variable_is_named_with_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_REDIS_ULR", REDIS)
    with pytest.raises(
        ConfigError, match="NEXTBEST_REDIS_ULR is not a setting; did you mean NEXTBEST_REDIS_URL"
    ):
        get_settings()


def test_wrong_value_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_PORT", "eighty")
    with pytest.raises(ConfigError, match=r"^NEXTBEST_PORT: .*integer"):
        get_settings()


def test_one_url_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_REDIS_URL", REDIS)
    with pytest.raises(ConfigError, match=r"^set both NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL"):
        get_settings()


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Settings(postgres_url=POSTGRES, redis_url=REDIS))


def test_configured_servers_are_used_as_they_are(tmp_path: Path) -> None:
    settings = Settings(postgres_url=POSTGRES, redis_url=REDIS, data_dir=tmp_path / "none")
    with server_urls(settings) as urls:
        assert urls == (POSTGRES, REDIS)
    assert not settings.data_dir.exists()

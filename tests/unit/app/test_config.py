"""Settings are read from the environment, and mistakes are named."""

import os
import re
import sys
from pathlib import Path

import pytest

from app.config import FROM_FILES, ConfigError, Settings, get_settings, parse_roles
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
    assert "secret-" not in repr(Settings(postgres_url=POSTGRES, redis_url=REDIS))


def test_configured_servers_are_used_as_they_are(tmp_path: Path) -> None:
    settings = Settings(postgres_url=POSTGRES, redis_url=REDIS, data_dir=tmp_path / "none")
    with server_urls(settings) as urls:
        assert urls == (POSTGRES, REDIS)
    assert not settings.data_dir.exists()


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("NEXTBEST_REDIS_URL", "redis:secret-b@cache", "no scheme with ://"),
        (
            "NEXTBEST_POSTGRES_URL",
            "postgresql://u:secret-a@db/nextbest?sslmde=require",
            "did you mean sslmode",
        ),
    ],
)
def test_a_wrong_address_is_named_by_its_variable_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", POSTGRES)
    monkeypatch.setenv("NEXTBEST_REDIS_URL", REDIS)
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as raised:
        get_settings()
    assert str(raised.value).startswith(f"{variable}: ")
    assert reason in str(raised.value)
    assert "secret" not in str(raised.value)


def test_addresses_come_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in (("POSTGRES", POSTGRES), ("REDIS", REDIS)):
        file = tmp_path / name
        file.write_text(f"{value}\n")
        monkeypatch.setenv(f"NEXTBEST_{name}_URL_FILE", str(file))
    settings = get_settings()
    assert (settings.postgres_url, settings.redis_url) == (POSTGRES, REDIS)
    with server_urls(settings) as urls:
        # What is read from a file is told to no process through its environment.
        assert urls.variables == {}
        urls.export()
    assert get_settings() == settings


@pytest.mark.parametrize(
    ("content", "both", "reason"),
    [
        (None, False, "NEXTBEST_REDIS_URL_FILE: cannot read .*No such file"),
        ("", False, "NEXTBEST_REDIS_URL_FILE: .* is empty"),
        (REDIS, True, "NEXTBEST_REDIS_URL and NEXTBEST_REDIS_URL_FILE are both set"),
        ("redis:secret-b@cache", False, "NEXTBEST_REDIS_URL: it has no scheme"),
    ],
)
def test_a_file_that_gives_no_address_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, both: bool, reason: str
) -> None:
    file = tmp_path / "redis"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("NEXTBEST_POSTGRES_URL", POSTGRES)
    monkeypatch.setenv("NEXTBEST_REDIS_URL_FILE", str(file))
    if both:
        monkeypatch.setenv("NEXTBEST_REDIS_URL", REDIS)
    with pytest.raises(ConfigError, match=reason) as raised:
        get_settings()
    assert "secret" not in str(raised.value)


def test_traces_without_their_packages_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_TRACES", "otlp")
    assert get_settings().traces == "otlp"
    for missing in ("opentelemetry.sdk", "opentelemetry.exporter"):
        with monkeypatch.context() as patched:
            for name in [name for name in sys.modules if name.startswith(missing)]:
                patched.delitem(sys.modules, name)
            patched.setitem(sys.modules, missing, None)
            with pytest.raises(ConfigError, match=r"^NEXTBEST_TRACES: .* pip install 'nextbest\[traces\]'$"):
                get_settings()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ISSUER", "http://login.example.com", "with https"),
        ("ISSUER", "login.example.com", "with https"),
        ("ROLES", "nb-ops:boss", "'nb-ops:boss' is no VALUE:ROLE; the roles are"),
        ("ROLES", "ops", "'ops' is no VALUE:ROLE"),
        ("CLIENT_ID", "", "NEXTBEST_OIDC_CLIENT_ID"),
        ("ROLES", "", "NEXTBEST_OIDC_ROLES"),
    ],
)
def test_a_provider_that_nobody_could_sign_in_with_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    right = {"ISSUER": "https://login.example.com", "CLIENT_ID": "nb", "ROLES": "a:b:ops, x:admin"}
    for part, found in right.items():
        monkeypatch.setenv(f"NEXTBEST_OIDC_{part}", found)
    assert parse_roles(get_settings().oidc_roles) == {"a:b": "ops", "x": "admin"}
    monkeypatch.setenv(f"NEXTBEST_OIDC_{name}", value)
    with pytest.raises(ConfigError, match=re.escape(said)):
        get_settings()


def test_a_clients_secret_comes_from_a_file_and_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text("s3cret\n")
    monkeypatch.setenv("NEXTBEST_OIDC_CLIENT_SECRET_FILE", str(file))
    assert get_settings().oidc_client_secret == "s3cret"
    assert "s3cret" not in repr(get_settings())


def test_every_secret_that_a_file_may_hold_is_documented() -> None:
    root = Path(__file__).resolve().parents[3]
    operations = (root / "docs" / "operations.md").read_text(encoding="utf-8")
    paragraph = operations.split("**Secrets in files.**")[1].split("\n\n")[0]
    for page in ((root / "README.md").read_text(encoding="utf-8"), paragraph):
        for name in FROM_FILES:
            assert f"`NEXTBEST_{name.upper()}_FILE`" in page

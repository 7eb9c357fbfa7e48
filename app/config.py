"""Settings: read from `NEXTBEST_*` environment variables, checked once at start."""

import difflib
import importlib.util
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from storage.addresses import parse_postgres, parse_redis

PREFIX = "NEXTBEST_"
TRACING_MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")
FROM_FILES = ("postgres_url", "redis_url", "api_key", "oidc_client_secret")
"""Settings whose values hold secrets, and may come from the file that ``<setting>_file`` names."""


class ConfigError(Exception):
    """A setting is unknown, missing or wrong. The message names the variable and says what is expected."""


RETENTION_LEAST: Mapping[str, int] = {
    "log": 60,
    "events": 8,
    "dead_letters": 1,
    "suppressions": 1,
    "triggers": 30,
    "notes": 1,
}
"""What may have a retention, and for how many days at least: decisions wait for outcomes, and an event counts once."""


class Settings(BaseSettings):
    """All settings of a process. Each field `x` is read from the variable `NEXTBEST_X`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    postgres_url: str | None = Field(None, repr=False, description="postgresql://user:password@host/database")
    redis_url: str | None = Field(None, repr=False, description="redis://:password@host:6379/0")
    postgres_url_file: Path | None = Field(None, description="a file that holds NEXTBEST_POSTGRES_URL")
    redis_url_file: Path | None = Field(None, description="a file that holds NEXTBEST_REDIS_URL")
    api_key: str | None = Field(None, repr=False, description="the key of commands that are given a --url")
    api_key_file: Path | None = Field(None, description="a file that holds NEXTBEST_API_KEY")
    data_dir: Path = Field(Path("var"), description="where embedded servers keep data and logs")
    appendfsync: Literal["always", "everysec", "no"] = Field(
        "everysec", description="when the embedded Valkey forces its append-only file to disk"
    )
    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port that the API listens on")
    workers: int = Field(1, ge=1, le=256, description="API processes")
    worker_nice: int = Field(
        5, ge=0, le=19, description="niceness of workers: API and servers weigh more where they share a core"
    )
    buckets: int = Field(
        64, ge=1, le=4096, description="partitions of the customers; fixed once data are stored"
    )
    catalog_poll_ms: int = Field(
        300, ge=10, le=60_000, description="how often changes of the catalogue are looked for"
    )
    redis_stall_ms: int = Field(
        500, ge=10, le=60_000, description="a Redis that is silent for so long is taken as gone"
    )
    policy_budget_ms: float = Field(
        20.0, gt=0, description="a policy that takes longer, three times in a row, is paused"
    )
    river_factories: str = Field(
        "", description="modules, separated by commas, that factories of river pipelines may come from"
    )
    profile_cache_s: int = Field(3600, ge=1, description="how long a profile stays in the cache")
    context_bytes: int = Field(16_384, ge=2, description="largest context of a request")
    body_bytes: int = Field(1_048_576, ge=1024, description="largest body of a request, imports apart")
    import_bytes: int = Field(268_435_456, ge=1024, description="largest body of an import")
    archive_interval_ms: int = Field(200, ge=1, le=60_000, description="how often the log is archived")
    event_stream: str = Field(
        "",
        description="a stream of Redis that workers take events from, such as nb:events:in, and into which the API"
        " puts back what was set aside; none if empty",
    )
    log_retain_s: int = Field(
        300, ge=0, le=86_400, description="how long archived decisions stay in the log in Redis as well"
    )
    retention: str = Field(
        "",
        description="days that what is archived is kept, by table, such as log:730,events:400; empty: for ever",
    )
    expire_interval_ms: int = Field(1000, ge=1, le=60_000, description="how often reward windows are closed")
    guard_interval_ms: int = Field(1000, ge=10, le=60_000, description="how often canaries are looked at")
    drift_interval_ms: int = Field(5000, ge=10, le=600_000, description="how often drift is looked for")
    population_interval_s: int = Field(
        3600, ge=1, le=604_800, description="how often it is found out what is usual among all customers"
    )
    drift_horizon_s: int = Field(
        600, ge=1, le=31_536_000, description="drift: what is not accepted by then counts as not accepted"
    )
    relinearise_s: int = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="how often logistic regressions are folded anew if they learned anything; 0: only after imports",
    )
    auto_features_interval_s: int = Field(
        60, ge=0, le=86_400, description="how often the default's features are looked at; 0: never"
    )
    forgetting_interval_s: int = Field(
        21_600, ge=0, le=31_536_000, description="how often what the default forgets is looked at; 0: never"
    )
    compiled: Literal["0", "1"] = Field(
        "1", description="whether compiled steps are used where there are some; read by bandits/compiled.py"
    )
    export_dir: Path = Field(
        Path("var/exports"),
        description="where exports that were asked for over HTTP are written; API and workers share it",
    )
    webhook_secrets: Path | None = Field(
        None,
        repr=False,
        description="a folder with the secrets that webhooks of alerts and triggers are signed with, one a file",
    )
    webhook_hosts: str = Field(
        "", description="hosts, separated by commas, that webhooks may reach though they are not public"
    )
    oidc_issuer: str | None = Field(
        None,
        description="the OpenID provider that people sign in with at the console; only keys if it is not set",
    )
    oidc_client_id: str | None = Field(None, description="the client that nextbest is there")
    oidc_client_secret: str | None = Field(None, repr=False, description="its secret, if it has one")
    oidc_client_secret_file: Path | None = Field(
        None, description="a file that holds NEXTBEST_OIDC_CLIENT_SECRET"
    )
    oidc_role_claim: str = Field("roles", min_length=1, description="the claim that tells a person's role")
    oidc_roles: str = Field(
        "", description="what its values stand for, such as nextbest-ops:ops,nextbest-admins:admin"
    )
    approvals: Literal["off", "required"] = Field(
        "off",
        description="required: the catalogue is changed by change sets that another person approved, or by an admin",
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = Field(
        "text", description="lines of the log: logfmt, or an object a line with the id of the request"
    )
    traces: Literal["off", "otlp"] = Field(
        "off", description="whether spans are sent, by OTLP, to what OpenTelemetry's own variables name"
    )
    work_port: int = Field(
        0, ge=0, le=65535, description="port on which a worker serves /metrics, /livez and /readyz; 0: none"
    )

    @property
    def needs_approvals(self) -> bool:
        """True if changes of the catalogue take the approval of another person."""
        return self.approvals == "required"

    @model_validator(mode="before")
    @classmethod
    def _read_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Take the addresses and the key that are in files, as orchestrators keep secrets."""
        read = {name: _read_secret(name, values) for name in FROM_FILES if values.get(f"{name}_file")}
        return {**values, **read}

    @field_validator("postgres_url")
    @classmethod
    def _check_postgres(cls, url: str | None) -> str | None:
        if url is not None:
            parse_postgres(url)
        return url

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, url: str | None) -> str | None:
        if url is not None:
            parse_redis(url)
        return url

    @field_validator("retention")
    @classmethod
    def _check_retention(cls, value: str) -> str:
        parse_retention(value)
        return value

    @field_validator("oidc_issuer")
    @classmethod
    def _check_issuer(cls, issuer: str | None) -> str | None:
        parts = urlsplit(issuer or "https://none")
        is_here = parts.hostname in ("localhost", "127.0.0.1", "::1")
        if (
            not parts.hostname
            or parts.query
            or parts.fragment
            or parts.scheme not in ("https", *["http"] * is_here)
        ):
            raise ValueError("write the address that the provider names itself by, with https")
        return issuer

    @field_validator("oidc_roles")
    @classmethod
    def _check_roles(cls, value: str) -> str:
        parse_roles(value)
        return value

    @field_validator("traces")
    @classmethod
    def _check_traces(cls, traces: str) -> str:
        if traces != "off" and not _can_trace():
            raise ValueError(
                f"{traces} needs packages that are not installed: pip install 'nextbest[traces]'"
            )
        return traces

    @model_validator(mode="after")
    def _both_urls_or_none(self) -> Self:
        if (self.postgres_url is None) != (self.redis_url is None):
            raise ValueError(
                f"set both {PREFIX}POSTGRES_URL and {PREFIX}REDIS_URL, or neither (embedded servers)"
            )
        return self

    @model_validator(mode="after")
    def _whole_provider(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.oidc_roles):
            raise ValueError(
                f"{PREFIX}OIDC_ISSUER takes {PREFIX}OIDC_CLIENT_ID and {PREFIX}OIDC_ROLES with it,"
                " or nobody could sign in"
            )
        return self


def _can_trace() -> bool:
    try:
        return all(importlib.util.find_spec(name) is not None for name in TRACING_MODULES)
    except ImportError:  # of a package around it
        return False


def _read_secret(name: str, values: Mapping[str, Any]) -> str:
    """Read a value from the file that is named for it. Raises ``ValueError``."""
    variable, path = PREFIX + name.upper(), values[f"{name}_file"]
    if values.get(name):
        raise ValueError(f"{variable} and {variable}_FILE are both set: set one of them")
    try:
        found = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{variable}_FILE: cannot read {path}: {reason}") from None
    if not found:
        raise ValueError(f"{variable}_FILE: {path} is empty")
    return found


def factory_modules(settings: Settings) -> list[str]:
    """List the modules that factories of river pipelines may come from."""
    return [name.strip() for name in settings.river_factories.split(",") if name.strip()]


def webhook_hosts(settings: Settings) -> frozenset[str]:
    """List the hosts that webhooks may reach though they are not public, in lower case."""
    return frozenset(name.strip().lower() for name in settings.webhook_hosts.split(",") if name.strip())


def parse_retention(value: str) -> dict[str, int]:
    """Read for how many days which table is kept. Raises ``ValueError``."""
    found = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        table, _, days = (one.strip() for one in part.partition(":"))
        if table not in RETENTION_LEAST:
            raise ValueError(f"{table!r} is none of {', '.join(RETENTION_LEAST)}: write log:730,events:400")
        least = RETENTION_LEAST[table]
        if not (days.isascii() and days.isdigit()) or not least <= int(days) <= 36_500:
            raise ValueError(f"{part!r}: {table} is kept for {least} to 36500 days, such as {table}:400")
        found[table] = int(days)
    return found


def parse_roles(value: str) -> dict[str, str]:
    """Read what stands for which role, such as ``nextbest-ops:ops,nextbest-admins:admin``. Raises ``ValueError``."""
    parts = [part.strip() for part in value.split(",") if part.strip()]
    if not parts:
        return {}
    from app.keys import ROLES  # brings SQLAlchemy, which commands that read settings need not wait for

    found: dict[str, str] = {}
    for part in parts:
        claimed, _, role = (one.strip() for one in part.rpartition(":"))
        if not claimed or role not in ROLES:
            raise ValueError(f"{part!r} is no VALUE:ROLE; the roles are {', '.join(ROLES)}")
        found[claimed] = role
    return found


def get_settings() -> Settings:
    """Read the settings from the environment, anew at each call. Raises `ConfigError`: one is wrong, or unknown."""
    unknown = unknown_variables(os.environ)
    if unknown:
        raise ConfigError("\n".join(unknown))
    try:
        return Settings()
    except ValidationError as error:
        problems = (_describe(problem["loc"], problem["msg"]) for problem in error.errors())
        # Without its cause, which quotes values: they may hold passwords.
        raise ConfigError("\n".join(problems)) from None


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Write a sentence for each variable that has the prefix but is no setting, with the likely one."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    found = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    return [f"{name} is not a setting{_suggest(name, known)}" for name in found]


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _describe(loc: tuple[int | str, ...], message: str) -> str:
    field = ".".join(str(part) for part in loc)
    message = message.removeprefix("Value error, ")
    return f"{PREFIX}{field.upper().removeprefix(PREFIX)}: {message}" if field else message

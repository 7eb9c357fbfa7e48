"""The addresses of the servers."""

import os
from typing import NamedTuple


class ServerUrls(NamedTuple):
    """The addresses of PostgreSQL (`postgresql://...`) and Redis (`redis://...`)."""

    postgres_url: str
    redis_url: str

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that tell a process which servers to use; what it reads from files stays there."""
        told = {"NEXTBEST_POSTGRES_URL": self.postgres_url, "NEXTBEST_REDIS_URL": self.redis_url}
        return {name: url for name, url in told.items() if f"{name}_FILE" not in os.environ}

    def export(self) -> None:
        """Tell this process and its children which servers to use."""
        os.environ.update(self.variables)

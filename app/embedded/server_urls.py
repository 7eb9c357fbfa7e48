"""The addresses of the servers."""

import os
from typing import NamedTuple


class ServerUrls(NamedTuple):
    """The addresses of PostgreSQL (`postgresql://...`) and Redis (`redis://...`)."""

    postgres_url: str
    redis_url: str

    def export(self) -> None:
        """Tell this process and its children which servers to use."""
        os.environ["NEXTBEST_POSTGRES_URL"] = self.postgres_url
        os.environ["NEXTBEST_REDIS_URL"] = self.redis_url

"""Parts of the commands on policies."""

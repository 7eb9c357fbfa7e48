"""Search for agents: what to say, and what to answer."""

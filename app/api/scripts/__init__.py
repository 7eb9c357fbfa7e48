"""Search for agents, over scripts and answers to objections."""

"""The vocabulary that a desk of agents needs to ask with: for agents and front ends, which cannot read the catalogue."""

"""The vocabulary that a desk needs to ask with: for agents and front ends, which cannot read the catalogue."""

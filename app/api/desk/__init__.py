"""The vocabulary that a desk of agents needs to ask with: for keys of front ends, which cannot read the catalogue."""

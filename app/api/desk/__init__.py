"""What a desk of agents needs to ask: for keys of front ends, which cannot read the catalogue."""

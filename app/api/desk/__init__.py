"""What a desk of agents needs to ask: for agents and front ends, which cannot read the catalogue."""

"""How much of each capacity is used in its current period."""

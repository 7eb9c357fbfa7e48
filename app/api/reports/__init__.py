"""How well offers, policies and placements do."""

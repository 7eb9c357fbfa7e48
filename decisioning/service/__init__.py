"""The decision path with its stores: what awaits, and what happens when a store does not answer."""

"""Triggers: what happens to customers calls for a decision, which is delivered to other systems."""

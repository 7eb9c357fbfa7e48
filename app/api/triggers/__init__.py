"""Firings of triggers, and what became of them."""

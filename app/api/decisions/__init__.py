"""Decisions: the best offers for a customer here and now, read again and explained."""

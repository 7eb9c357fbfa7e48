"""Publishable keys: a way in for pages and apps, where anybody can read the key."""

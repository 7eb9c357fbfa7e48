"""Publishable keys, as admins look after them."""

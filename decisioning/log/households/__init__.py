"""Contacts that the members of a household share."""

"""Suppression lists: the customers who must not be contacted."""

"""Visitors who sign in: what is known of them becomes the customer's."""

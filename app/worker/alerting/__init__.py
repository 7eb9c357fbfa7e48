"""Alerts: looked at, and told to webhooks."""

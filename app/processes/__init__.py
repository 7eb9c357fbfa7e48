"""Processes of the service: how they are kept running, and settle."""

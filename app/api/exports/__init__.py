"""Exports of the log, customers and arms as files."""

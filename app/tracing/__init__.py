"""Traces of requests, and of decisions up to what was learned from them (OpenTelemetry)."""

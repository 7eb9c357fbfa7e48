"""The service around the engine: HTTP API, command line, processes, settings."""

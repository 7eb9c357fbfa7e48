"""The HTTP API: an area a folder, each with thin `routes` and the `schemas` of what travels."""

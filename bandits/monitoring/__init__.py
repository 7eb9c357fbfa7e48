"""Monitoring of policies: exploration, changes of acceptance, and tests of canaries."""

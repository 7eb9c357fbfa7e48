"""Watching policies: exploration, drift of acceptance, canaries that are worse."""

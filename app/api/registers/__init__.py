"""Registers of persons who must not be contacted, known by salted hashes."""

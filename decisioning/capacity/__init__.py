"""Capacity: caps that all processes share, handed out in leases."""

"""Helpers that tests share: installations, stand-ins, made-up data, oracles and waits.

Whatever a second module of tests needs stands here; test modules and conftest files are imported by nobody.
"""

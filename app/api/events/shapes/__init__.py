"""Events in the shapes of others: each mapping makes of one event what ``POST /v1/events`` takes.

Pure functions of what was sent. What they make is checked like any other event; ``FIELDS`` of a shape says under which
name the sender knows a field that is wrong.
"""

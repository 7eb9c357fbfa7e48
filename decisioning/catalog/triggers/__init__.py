"""Triggers as they are declared in a catalogue."""

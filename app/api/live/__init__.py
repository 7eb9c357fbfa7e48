"""The traffic of this moment, in all processes: numbers of the last seconds."""

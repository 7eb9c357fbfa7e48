"""What goes on now, in all processes: numbers of the last seconds."""

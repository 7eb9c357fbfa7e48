"""The laws that every policy keeps, and the scenarios in which they are checked."""

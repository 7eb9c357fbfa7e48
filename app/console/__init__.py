"""The console: screens for people, which call the same API as everybody else."""

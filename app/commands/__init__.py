"""The commands of `nextbest`, a module each. Modules import what is slow to import inside their functions."""

"""HTTP: change sets."""

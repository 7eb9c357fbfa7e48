"""The vocabulary that a desk needs to ask with, and articles: for those who cannot read the catalogue."""

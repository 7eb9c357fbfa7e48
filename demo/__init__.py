"""`nextbest demo`: real grocery households and campaigns, loaded and served end to end."""

"""Jobs by which policies learn."""

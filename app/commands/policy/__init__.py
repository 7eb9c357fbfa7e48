"""What commands on policies work with."""

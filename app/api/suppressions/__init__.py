"""Who must not be contacted, why and until when."""

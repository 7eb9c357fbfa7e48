"""Rules and catalogues before they go live: previews and simulations."""

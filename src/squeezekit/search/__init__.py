"""Which network and which recipe: spaces, and studies that look through them."""

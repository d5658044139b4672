"""Several rooms at once."""

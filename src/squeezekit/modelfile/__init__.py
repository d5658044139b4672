"""The .sqz format: its metadata sections, .sqd deltas, inspection."""

"""Trained networks in the wheel, by name."""

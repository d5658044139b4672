"""Trained networks that come with squeezekit."""

"""One page for any browser."""

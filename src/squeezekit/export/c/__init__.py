"""C99 in integers, for any chip."""

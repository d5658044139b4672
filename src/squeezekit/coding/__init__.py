"""Arrays and texts in as few bytes as can be: an arithmetic coder, what it foretells, and the forms of an array."""

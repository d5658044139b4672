"""Arrays to bytes: range coder, context models, tensor encodings."""

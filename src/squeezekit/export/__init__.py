"""A trained network for other programs and chips: ONNX, C, a page."""

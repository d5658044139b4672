"""Out of Python: ONNX."""

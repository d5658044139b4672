"""Out of Python: ONNX, an HTTP service."""

"""Trained networks for other programs and machines: ONNX, C, TensorFlow Lite, a page for browsers, Verilog."""

from squeezekit.system.callable_package import make_callable

make_callable(__name__, "squeezekit.export.formats", "export")

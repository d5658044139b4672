"""Smaller: quantisation, entropy coding, the .sqz file."""

from squeezekit.compression.forms import Quantised
from squeezekit.compression.tensors import decode_tensors, encode_tensors

__all__ = ["Quantised", "decode_tensors", "encode_tensors"]

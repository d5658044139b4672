"""Smaller: quantisation, entropy coding, the .sqz file."""

from squeezekit.coding.forms import Quantised
from squeezekit.coding.tensors import decode_tensors, encode_tensors

__all__ = ["Quantised", "decode_tensors", "encode_tensors"]

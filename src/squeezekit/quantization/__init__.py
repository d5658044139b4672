"""Weights to grids: rate–distortion rounding, Fisher information, quantisation-aware training."""

"""Classification without PyTorch and NumPy, for small computers: what the distribution `squeezekit-device` consists of."""

"""Classify pictures with a `.sqz` file on a small computer, without PyTorch and NumPy.

from squeezekit_device import Classifier

print(Classifier("model.sqz").predict("photo.jpg")[0])
"""

from .device.classifier import DeviceAnswer as Answer
from .device.classifier import DeviceClassifier as Classifier
from .system.errors import RunFailed, SqueezekitError

__all__ = ["Answer", "Classifier", "RunFailed", "SqueezekitError"]

"""Pictures become tensors: sources, splits, the decoded store, batches with augmentation."""

from squeezekit.images.image_set import ImageSet, ImageSource
from squeezekit.images.picture import PICTURE_SUFFIXES, Picture, read_picture
from squeezekit.images.sources import load_images
from squeezekit.images.splits import Split, split_training

__all__ = [
    "PICTURE_SUFFIXES",
    "ImageSet",
    "ImageSource",
    "Picture",
    "Split",
    "load_images",
    "read_picture",
    "split_training",
]

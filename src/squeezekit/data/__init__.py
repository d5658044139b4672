"""Images become arrays: sources, splits, the decoded store, batches and augmentation."""

from squeezekit.data.image_file import IMAGE_SUFFIXES, ImageInput, read_image
from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.sources import load_images
from squeezekit.data.splits import Split, split_images

__all__ = [
    "IMAGE_SUFFIXES",
    "ImageInput",
    "ImageSet",
    "ImageSource",
    "Split",
    "load_images",
    "read_image",
    "split_images",
]

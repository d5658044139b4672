"""The report's system as most people would write it in PyTorch: the peer to be faster than.

    python benchmarks/peers/plain_pytorch.py IMAGES [--network squeezenet-cifar|late] [--epochs 3] [--limit N] [--batch-size 64]
        [--batch-norm]

A Dataset of PIL images with transforms, a DataLoader with two workers, fp32, contiguous layout, Adam. IMAGES holds
train/<class>/…. Prints one JSON line an epoch. Needs torch and Pillow, and nothing of squeezekit.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset

# (squeeze, expand of each branch) of every Fire module; "pool" is a 2×2 max-pooling.
NETWORKS = {
    "squeezenet-cifar": ["pool", (16, 64), "pool", (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)],
    "squeezenet-late": [
        "pool",
        (16, 64),
        (16, 64),
        (32, 128),
        "pool",
        (32, 128),
        (48, 192),
        (48, 192),
        (64, 256),
        "pool",
        (64, 256),
    ],
}


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float() / 255


class Images(Dataset):
    def __init__(self, folder, limit, transform):
        self.pixels, self.labels, self.transform = [], [], transform
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        for label, path in enumerate(classes):
            for file in sorted(path.iterdir())[: limit // len(classes) if limit else None]:
                self.pixels.append(np.asarray(Image.open(file).convert("RGB")))
                self.labels.append(label)
        self.classes = len(classes)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def convolution(in_channels, out_channels, kernel, norm):
    layers = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(out_channels)] if norm else []), nn.ReLU())


class Fire(nn.Module):
    def __init__(self, in_channels, squeeze, expand, norm):
        super().__init__()
        self.squeeze = convolution(in_channels, squeeze, 1, norm)
        self.expand1x1 = convolution(squeeze, expand, 1, norm)
        self.expand3x3 = convolution(squeeze, expand, 3, norm)

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)


def build(layout, classes, norm):
    layers, channels = [convolution(3, 96, 3, norm)], 96
    for item in layout:
        if item == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers.append(Fire(channels, *item, norm))
            channels = 2 * item[1]
    head = [nn.Dropout(0.5), nn.Conv2d(channels, classes, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="squeezenet-cifar")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--batch-norm", action="store_true")
    arguments = parser.parse_args()
    images = Images(arguments.images / "train", arguments.limit, to_tensor)
    loader = DataLoader(images, arguments.batch_size, shuffle=True, num_workers=2)
    network = build(NETWORKS[arguments.network], images.classes, arguments.batch_norm)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for epoch in range(arguments.epochs):
        start, total = time.perf_counter(), 0.0
        for pixels, labels in loader:
            loss = F.cross_entropy(network(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        rate = round(len(images) / (time.perf_counter() - start), 1)
        print(json.dumps({"epoch": epoch, "images_per_s": rate, "loss": round(total / len(images), 4)}), flush=True)

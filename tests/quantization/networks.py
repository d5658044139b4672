"""A small network and batches of random images."""

import torch
import torch.nn.functional as F

from squeezekit.networks import network_config


def network(**fields):
    torch.manual_seed(0)
    fields = {"base_e": 16, "incr_e": 8, "squeeze_ratio": 0.5, "stem_width": 8, "depth": 3, "dropout": 0.0, **fields}
    net = network_config("squeezenet-cifar", **fields).build()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.normal_(module.weight)
    return net.eval()


def batches(count=3, size=16):
    torch.manual_seed(1)
    return [(torch.rand(size, 3, 32, 32), torch.randint(10, (size,))) for _ in range(count)]


def train(net, optimizer, steps):
    losses = []
    for i in range(steps):
        torch.manual_seed(i)
        loss = F.cross_entropy(net(torch.rand(16, 3, 32, 32)), torch.randint(10, (16,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses

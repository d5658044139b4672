"""Post-training quantisation (PTQ): a whole network rounded at a rate weight, without training."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from squeezekit.data.batches import Batch
from squeezekit.quantization.bias_correction import correct_biases, reestimate_batch_norm
from squeezekit.quantization.fisher import FisherInformation
from squeezekit.quantization.qat import QuantizedWeight
from squeezekit.quantization.rate_distortion import grid_steps, rate_distortion_round
from squeezekit.quantization.weight_layers import weight_count, weight_layers


def quantize_weights(
    network: nn.Module, fisher: Sequence[FisherInformation], rate_weight: float, calibration: Sequence[Batch]
) -> list[QuantizedWeight]:
    """Quantise the weights of every layer in the network, and correct batch normalization and biases for it.

    `fisher` is that of each of `weight_layers(network)`; `rate_weight` is the price of a bit for every weight, in nats of an
    image's loss. Returns one `QuantizedWeight` for each layer, from which QAT can go on.
    """
    layers = weight_layers(network)
    nats_per_bit = rate_weight / weight_count(layers)
    quantized = []
    for layer, information in zip(layers, fisher, strict=True):
        steps = grid_steps(information, nats_per_bit)
        integers, latent = rate_distortion_round(layer.weight, steps, information, nats_per_bit)
        quantized.append(QuantizedWeight.from_quantized(layer.weight, steps, integers, latent))
    reestimate_batch_norm(network, calibration)
    # Where no batch normalization follows, biases keep the means.
    means = {layer: each.output_means for layer, each in zip(layers, fisher, strict=True) if layer.bias is not None}
    correct_biases(network, means, calibration)
    if len(means) > 1:
        # Batch normalization behind corrected layers sees other inputs.
        reestimate_batch_norm(network, calibration)
    return quantized

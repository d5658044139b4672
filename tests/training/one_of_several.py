"""One process of a training with a network in float64, started by the tests, alone or under torchrun; prints its losses.

python one_of_several.py NETWORK_FIELDS RECIPE_FIELDS
"""

import json
import sys

import numpy as np
import torch

from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training.callbacks import Callback
from squeezekit.training.distributed import joined
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES

torch.set_default_dtype(torch.float64)
network_fields, recipe_fields = (json.loads(argument) for argument in sys.argv[1:])
with joined() as processes:
    digits = load_digits(image_size=16, channels=1).training
    torch.manual_seed(0)
    network = network_config(
        "squeezenet-cifar", channels=1, image_size=16, base_e=8, incr_e=8, stem_width=8, depth=3, **network_fields
    ).build()
    # Ten batches of 32 and one of 2, of which a third process gets nothing.
    batches = Batches(digits, np.arange(322), batch_size=32, augmentation="shift", rank=processes.rank, ranks=processes.count)
    sgd = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "precision": "fp32", "epochs": 2}
    recipe = RECIPES["modern"].model_copy(update={**sgd, **recipe_fields})
    weights = torch.linspace(0.5, 2, 10, dtype=torch.float32)
    device = torch.device("cpu")
    trainer = Trainer(network, recipe, batches, batches, seed=0, device=device, class_weights=weights, processes=processes)
    losses = []

    class Losses(Callback):
        def on_step(self, trainer, rate):
            losses.append(trainer.progress.loss_sum)

    trainer.fit([Losses()])
    if processes.first:
        history = [row["validation_loss"] for row in trainer.progress.history]
        torch.manual_seed(1)
        # One number a tensor that every value moves.
        weights = [float((tensor.double() * torch.rand(tensor.shape)).sum()) for tensor in trainer.network.state_dict().values()]
        print(json.dumps({"steps": losses, "validation": history, "weights": weights}))

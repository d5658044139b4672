"""What every method needs."""

from squeezekit import train
from squeezekit.compression.context import CompressionContext, batch_size_of_a_round, epochs_of_a_round
from squeezekit.data.crops import kept_side
from squeezekit.training.recipe import RECIPES
from tests.fixtures.tiny import TINY


def test_a_round_of_a_small_set_has_400_steps(tiny_run):
    context = CompressionContext(tiny_run)
    steps = context.trainer(context.network(), None, context.recipe(1, {})).training.steps
    assert context.epochs_per_round() * steps >= 400 > (context.epochs_per_round() - 1) * steps


def test_a_fine_tuned_network_keeps_its_batches():
    fine = RECIPES["fine-tune"]
    assert batch_size_of_a_round(fine) == fine.batch_size < batch_size_of_a_round(RECIPES["modern"])
    assert epochs_of_a_round(10_000, fine) < epochs_of_a_round(10_000, RECIPES["modern"])


def test_a_round_crops_where_the_run_did_and_averages_nothing(tmp_path):
    fields = {**TINY, "epochs": 1, "limit": 100, "augmentation": "crop", "averaging": 0.9}
    context = CompressionContext(train("digits", out=tmp_path / "run", test=False, **fields))
    run = context.run
    assert context.recipe(1, {}).averaging == 0
    training = context.trainer(context.network(), None, context.recipe(1, {})).training
    side = run.config.network.image_size
    assert training.side == side
    # From images that are kept larger.
    assert training.pixels(training.indices[:1], training.indices[:1] * 0).shape[1] == kept_side(side) > side
    assert next(training.shuffled(0))[0].shape[2:] == (side, side)

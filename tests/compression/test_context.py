"""What every method needs."""

from squeezekit.compression.context import CompressionContext


def test_a_round_of_a_small_set_has_400_steps(tiny_run):
    context = CompressionContext(tiny_run)
    steps = context.trainer(context.network(), None, context.recipe(1, {})).training.steps
    assert context.epochs_per_round() * steps >= 400 > (context.epochs_per_round() - 1) * steps

"""Recipes as data."""

from squeezekit.training.recipe import RECIPES, Recipe


def test_a_recipe_is_told_by_its_name_and_what_differs():
    assert RECIPES["fast"].changes() == {"name": "fast"}
    assert RECIPES["fast"].model_copy(update={"epochs": 3, "cutout": 0.25}).changes() == {
        "name": "fast",
        "epochs": 3,
        "cutout": 0.25,
    }
    assert Recipe(name="of somebody", epochs=3).changes() == {"name": "of somebody"}

"""How it learns: recipe, loop, stopping, schedule, checkpoints, run folder."""

"""Training: recipe, loop and callbacks, optimizers, schedules, several processes, run folder."""

"""From a run to the smallest .sqz file that meets a target."""

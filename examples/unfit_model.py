"""Make a model that fails the self-check it carries, to rehearse a bad update: python unfit_model.py OLD.sqz NEW.sqz."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from squeezekit.modelfile.sqz import read_sqz

model = read_sqz(Path(sys.argv[1]))
name = list(model.weights)[-1]
replace(model, weights={**model.weights, name: -np.asarray(model.weights[name])}).write(Path(sys.argv[2]))

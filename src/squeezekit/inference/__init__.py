"""Using a trained network: the Classifier, evaluation."""

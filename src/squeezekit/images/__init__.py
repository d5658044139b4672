"""Pictures become tensors: sources, splits, the decoded store, batches with augmentation."""

"""Pictures become arrays: sources, splits, the decoded store, batches and augmentation."""

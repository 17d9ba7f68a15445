"""Data sets as tensors in memory: one function a data set, splits, transforms of whole batches."""

"""Data sets as tensors in memory: one function per data set, splits, transforms."""

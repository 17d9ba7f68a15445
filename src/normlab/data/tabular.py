"""Tables of numbers: samples as rows, one number to predict."""

import numpy as np
import torch

from normlab.data.arrays import Arrays
from normlab.data.splits import fold_indices

FOLDS_SEED = 0  # the assignment to folds is part of the data set: the same for every seed of a run


def diabetes(fold: int, num_folds: int) -> Arrays:
    """442 patients, ten measurements in their own units, and how far the disease went after a year.

    Efron, Hastie, Johnstone and Tibshirani (2004), embedded in scikit-learn. There is no official test part: fold
    `fold` of `num_folds` is the test part, the others are the training part; a cross-validation is a sweep over `fold`.

    Raises:
        ValueError: a fold out of range.
    """
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False)
    inputs = torch.from_numpy(data.data.astype(np.float32))
    targets = torch.from_numpy(data.target.astype(np.float32))
    train, test = fold_indices(len(targets), num_folds, fold, np.random.default_rng(FOLDS_SEED))
    return Arrays(inputs[train], targets[train], inputs[test], targets[test])

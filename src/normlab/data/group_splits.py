"""Divide samples into parts so that samples of one group stay together.

Groups are, for instance, the patients of several measurements each: a score on other
measurements of the patients of the training part would promise too much.
"""

import numpy as np

from normlab.data.splits import check_fold

Indices = tuple[np.ndarray, np.ndarray]


def group_fold_indices(
    groups: np.ndarray,
    targets: np.ndarray,
    num_folds: int,
    fold: int,
    generator: np.random.Generator,
) -> Indices:
    """Divide samples into the training and test part of one fold, group by group.

    Classes have about the same proportions in every fold, as far as the groups allow
    (scikit-learn's StratifiedGroupKFold); numbers do not matter (GroupKFold).

    Args:
        groups: ``(N,)``, the group of each sample.
        targets: ``(N,)``, int64 classes or float64 numbers.
        num_folds: number of folds, at most as many as there are groups.
        fold: index of the fold, from 0.
        generator: random numbers; the same for every fold.

    Returns:
        Sorted indices of training and of test.

    Raises:
        ValueError: the fold or the number of folds is out of range.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    num_groups = len(np.unique(groups))
    check_fold(num_folds, fold, num_groups, "groups")
    seed = int(generator.integers(2**31))
    is_classification = targets.dtype.kind in "iu"
    splitter = StratifiedGroupKFold if is_classification else GroupKFold
    folds = splitter(num_folds, shuffle=True, random_state=seed)
    divided = list(folds.split(groups, targets, groups))
    train, test = divided[fold]
    if not len(test) or not len(train):
        raise ValueError(
            f"dataset.num_folds={num_folds} leaves fold {fold} without a group of "
            f"{num_groups}; take fewer folds"
        )
    return train, test


def group_validation_indices(
    groups: np.ndarray,
    targets: np.ndarray,
    fraction: float,
    method: str,
    generator: np.random.Generator,
) -> Indices:
    """Take whole groups out of the training samples for validation.

    Args:
        groups: ``(N,)``, the group of each sample.
        targets: ``(N,)``, classes or numbers.
        fraction: share of the groups that go to validation, between 0 and 1; if
            `method` is stratified, the nearest of 1/2, 1/3, 1/4 and so on.
        method: `random` or `stratified`.
        generator: random numbers.

    Returns:
        Sorted indices of training and of validation.

    Raises:
        ValueError: the method is another one, or there are too few groups.
    """
    from sklearn.model_selection import GroupShuffleSplit

    num_groups = len(np.unique(groups))
    if method not in ("random", "stratified"):
        raise ValueError(
            f"dataset.split must be random or stratified with dataset.groups, got "
            f"{method!r}"
        )
    if num_groups < 2:
        raise ValueError(
            "the training part must have two groups at least, one of them to validate "
            f"on; it has {num_groups}"
        )
    if method == "stratified":
        num_folds = min(num_groups, max(2, round(1 / fraction)))
        return group_fold_indices(groups, targets, num_folds, 0, generator)
    number = min(num_groups - 1, max(1, round(fraction * num_groups)))
    seed = int(generator.integers(2**31))
    splitter = GroupShuffleSplit(1, test_size=number, random_state=seed)
    train, validation = next(splitter.split(groups, targets, groups))
    return np.sort(train), np.sort(validation)

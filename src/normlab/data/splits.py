"""Which samples belong to which part, from targets, a method and a random generator."""

from typing import TypeGuard

import numpy as np


def train_validation_indices(
    targets: np.ndarray, fraction: float, method: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the training samples into a training and a validation part.

    Args:
        targets: ``(N,)``, classes or numbers of the training samples.
        fraction: share of the samples that go to validation, between 0 and 1.
        method: `stratified` (the same proportions of the classes in both parts),
            `random`, or `tail` (validation gets the last samples, as in the notebooks).
        generator: random numbers for the first two methods.

    Returns:
        Sorted indices of training and of validation. Each of 0..N-1 is in one of them.

    Raises:
        ValueError: the method is unknown, a part is empty, or a class is too small to
            be in both parts.
    """
    num_samples = len(targets)
    num_validation = round(num_samples * fraction)
    if not 0 < num_validation < num_samples:
        samples = f"{num_samples} samples"
        if num_samples == 1:
            samples = "1 sample"
        raise ValueError(
            f"dataset.validation={fraction} of {samples} leaves an empty part; "
            "both training and validation need at least one"
        )
    everything = np.arange(num_samples)
    if method == "tail":
        num_train = num_samples - num_validation
        return everything[:num_train], everything[num_train:]
    if method == "random":
        shuffled = generator.permutation(num_samples)
        train = shuffled[num_validation:]
        validation = shuffled[:num_validation]
        return np.sort(train), np.sort(validation)
    if method != "stratified":
        raise ValueError(
            f"dataset.split must be stratified, random or tail, got {method!r}"
        )

    _check_classes(targets, num_validation)
    # Imported here, since it takes about a second that other methods need not spend.
    from sklearn.model_selection import train_test_split

    seed = int(generator.integers(2**31))
    train, validation = train_test_split(
        everything, test_size=num_validation, stratify=targets, random_state=seed
    )
    return np.sort(train), np.sort(validation)


def _check_classes(targets: np.ndarray, num_validation: int) -> None:
    """Refuse a stratified split if a class cannot be in both parts."""
    classes, counts = np.unique(targets, return_counts=True)
    is_regression = targets.dtype.kind == "f"
    kind = "number" if is_regression else "class"
    if counts.min() < 2:
        rarest = classes[counts.argmin()]
        raise ValueError(
            f"dataset.split=stratified needs two samples of every {kind} "
            f"of the target, {kind} {rarest} has {counts.min()}; "
            "use dataset.split=random"
        )
    num_train = len(targets) - num_validation
    if min(num_validation, num_train) < len(classes):
        plural = "numbers" if is_regression else "classes"
        raise ValueError(
            f"a stratified split of {len(targets)} samples "
            f"into {num_train} and {num_validation} "
            f"cannot hold all {len(classes)} {plural} in both parts; "
            "use dataset.split=random"
        )


def fold_indices(
    num_samples: int, num_folds: int, fold: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Divide samples into the training and test part of one fold of a cross-validation.

    Args:
        num_samples: N.
        num_folds: number of folds, from 2 to N.
        fold: index of the fold, from 0. Over all folds every sample is in exactly one
            test part.
        generator: random numbers for the assignment of samples to folds. It must start
            from the same state for every fold of one cross-validation.

    Returns:
        Sorted indices of training and of test.

    Raises:
        ValueError: the fold or the number of folds is out of range.
    """
    check_fold(num_folds, fold, num_samples, "samples")

    from sklearn.model_selection import KFold

    seed = int(generator.integers(2**31))
    folds = KFold(num_folds, shuffle=True, random_state=seed)
    every_fold = list(folds.split(np.arange(num_samples)))
    return every_fold[fold]


def check_fold(num_folds: object, fold: object, largest: int, what: str) -> None:
    """Refuse a number of folds, or a fold, that is out of range.

    Args:
        num_folds: number of folds, from 2 to `largest`.
        fold: index of the fold, from 0.
        largest: the number of samples, or of groups of them.
        what: what is divided into folds.
    """
    if not _is_integer(num_folds) or not 2 <= num_folds <= largest:
        raise ValueError(
            f"dataset.num_folds must lie in 2..{largest} (the number of {what}), "
            f"got {num_folds!r}"
        )
    if not _is_integer(fold) or not 0 <= fold < num_folds:
        raise ValueError(f"dataset.fold must lie in 0..{num_folds - 1}, got {fold!r}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)

"""Which samples belong to which part: pure functions of targets, a rule and a random generator."""

import numpy as np


def train_validation_indices(
    targets: np.ndarray, fraction: float, method: str, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Carve a validation part out of the training samples.

    Args:
        targets: ``(N,)`` classes or numbers of the training samples.
        fraction: of the samples that go to validation, in (0, 1).
        method: `stratified` (every class in proportion), `random`, or `tail` (the last samples, as the notebooks do).
        generator: of the two random methods.

    Returns:
        Sorted, disjoint indices of training and validation, together 0..N-1.

    Raises:
        ValueError: an unknown method, an empty part, or a class too small to be in both parts.
    """
    num_validation = round(len(targets) * fraction)
    if not 0 < num_validation < len(targets):
        samples = "1 sample" if len(targets) == 1 else f"{len(targets)} samples"
        raise ValueError(
            f"dataset.validation={fraction} of {samples} leaves an empty part; "
            f"both training and validation need at least one"
        )
    everything = np.arange(len(targets))
    if method == "tail":
        return everything[:-num_validation], everything[-num_validation:]
    if method == "random":
        chosen = generator.permutation(len(targets))
        return np.sort(chosen[num_validation:]), np.sort(chosen[:num_validation])
    if method != "stratified":
        raise ValueError(
            f"dataset.split must be stratified, random or tail, got {method!r}"
        )
    from sklearn.model_selection import (
        train_test_split,  # takes about a second to import
    )

    _check_classes(targets, num_validation)
    seed = int(generator.integers(2**31))
    train, validation = train_test_split(
        everything, test_size=num_validation, stratify=targets, random_state=seed
    )
    return np.sort(train), np.sort(validation)


def _check_classes(targets: np.ndarray, num_validation: int) -> None:
    classes, counts = np.unique(targets, return_counts=True)
    kind, kinds = (
        ("number", "numbers") if targets.dtype.kind == "f" else ("class", "classes")
    )
    if counts.min() < 2:
        raise ValueError(
            f"dataset.split=stratified needs two samples of every {kind} of the target, {kind} "
            f"{classes[counts.argmin()]} has {counts.min()}; use dataset.split=random"
        )
    if min(num_validation, len(targets) - num_validation) < len(classes):
        raise ValueError(
            f"a stratified split of {len(targets)} samples into {len(targets) - num_validation} and {num_validation} "
            f"cannot hold all {len(classes)} {kinds} in both parts; use dataset.split=random"
        )


def fold_indices(
    num_samples: int, num_folds: int, fold: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Training and test samples of one fold of a cross-validation.

    Args:
        num_samples: N.
        num_folds: at least 2, at most N.
        fold: 0..num_folds-1; over all folds every sample is in exactly one test part.
        generator: of the assignment, the same for every fold of one cross-validation.

    Raises:
        ValueError: a fold or a number of folds out of range.
    """
    if (
        isinstance(num_folds, bool)
        or not isinstance(num_folds, int)
        or not 2 <= num_folds <= num_samples
    ):
        raise ValueError(
            f"dataset.num_folds must lie in 2..{num_samples} (the number of samples), got {num_folds!r}"
        )
    if isinstance(fold, bool) or not isinstance(fold, int) or not 0 <= fold < num_folds:
        raise ValueError(f"dataset.fold must lie in 0..{num_folds - 1}, got {fold!r}")
    from sklearn.model_selection import KFold

    folds = KFold(num_folds, shuffle=True, random_state=int(generator.integers(2**31)))
    return list(folds.split(np.arange(num_samples)))[fold]

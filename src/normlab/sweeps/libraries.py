"""What the data of a sweep import, if that takes long.

Worker processes that are forks of one process get what that has imported before.
"""

from typing import Any

SCIKIT_LEARN = (
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.model_selection",
    "sklearn.preprocessing",
)


def libraries_of(dataset: dict[str, Any]) -> tuple[str, ...]:
    """Names of the modules that the data of a run need besides what every run imports.

    Args:
        dataset: the section of a configuration.
    """
    loader = dataset["load"].get("_target_", "")
    is_table = loader.startswith("normlab.data.tabular.")
    is_digits = loader == "normlab.data.images.digits"
    has_own_validation = dataset.get("use_val", False)
    is_stratified = dataset.get("split") == "stratified" and not has_own_validation
    if is_table or is_digits or is_stratified:
        return SCIKIT_LEARN
    return ()

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
    if is_table or is_digits or dataset.get("split") == "stratified":
        return SCIKIT_LEARN
    return ()

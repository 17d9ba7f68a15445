"""Build what a `_target_` names, after it was checked."""

from typing import Any

from hydra.utils import get_object, instantiate

from normlab.config.trust import TRUSTED_PACKAGES, check_targets, is_in, targets_of


def check_homes(config: dict) -> None:
    """Refuse targets that only pass through a trusted package, such as a module that it happens to import.

    Raises:
        ValueError: names the target as it is really called, or one that does not exist.
    """
    check_targets(config, config["trusted_packages"])  # before anything is imported
    for path in targets_of(config):
        try:
            found = get_object(path)
            home = getattr(found, "__module__", None) or ""
            name = getattr(found, "__qualname__", "")
        except (ImportError, ValueError) as error:
            raise ValueError(
                f"_target_ {path!r} cannot be found: {str(error).splitlines()[0]}"
            ) from error
        if not is_in(
            f"{home}.{name}", (*TRUSTED_PACKAGES, *config["trusted_packages"])
        ):
            raise ValueError(
                f"_target_ {path!r} is {home or type(found).__module__}.{path.rpartition('.')[2]}, "
                f"which is not in a trusted package"
            )


def build(config: dict, **arguments: Any) -> Any:
    """Hydra's `instantiate`, with lists and dicts as plain Python."""
    return instantiate(config, **arguments, _convert_="all")

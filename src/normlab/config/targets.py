"""Build the object that a `_target_` names, after it was checked."""

from typing import Any

from hydra.utils import get_object, instantiate

from normlab.config.trust import TRUSTED_PACKAGES, check_targets, is_in, targets_of


def check_homes(config: dict[str, Any]) -> None:
    """Refuse targets whose home is not the trusted package that they are named by.

    A trusted package may happen to import `os`; its `os.system` is not trusted.

    Args:
        config: the resolved configuration.

    Raises:
        ValueError: names the target by its true home, or one that does not exist.
    """
    trusted = config["trusted_packages"]
    check_targets(config, trusted)  # by name, before anything is imported
    for path in targets_of(config):
        try:
            found = get_object(path)
            home = getattr(found, "__module__", None) or ""
            name = getattr(found, "__qualname__", "")
        except (ImportError, ValueError) as error:
            first_line = str(error).splitlines()[0]
            raise ValueError(
                f"_target_ {path!r} cannot be found: {first_line}"
            ) from error
        if not is_in(f"{home}.{name}", (*TRUSTED_PACKAGES, *trusted)):
            true_home = home or type(found).__module__
            raise ValueError(
                f"_target_ {path!r} is {true_home}.{path.rpartition('.')[2]}, "
                f"which is not in a trusted package"
            )


def build(config: dict[str, Any], **arguments: Any) -> Any:
    """Hydra's `instantiate`, with plain lists and dicts for arguments."""
    return instantiate(config, **arguments, _convert_="all")

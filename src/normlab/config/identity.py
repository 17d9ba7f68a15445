"""The identity of a configuration: its digest, and the name and folder of its run."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

# These may change without changing the result of a run, and therefore not its folder.
NOT_PART_OF_THE_RESULT = (
    "paths",
    "group",
    "rerun",
    "retry",
    "logger",
    "progress",
    "dry_run",
    "profile",
    "trusted_packages",
    "trial",
)

# Options that norms were given after runs had been stored, by the name of the norm,
# each with the value that describes what those runs did.
BIAS_ADDED_LATER = {"bias": True}
NORM_OPTIONS_ADDED_LATER: dict[str, dict[str, Any]] = {
    "torch": BIAS_ADDED_LATER,
    "custom": BIAS_ADDED_LATER,
    "ghost": BIAS_ADDED_LATER,
    "batch_renorm": BIAS_ADDED_LATER,
    "noisy_batch": {
        "bias": True,
        "track_running_stats": True,
        "sync": False,
        "kernel": "auto",
    },
}


def configuration_directory() -> Path:
    """`conf/` of the checkout, or the copy that the wheel carries."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "conf"
    if (checkout / "config.yaml").is_file():
        return checkout
    return package / "conf"


def options_added_later(norm: str) -> dict[str, dict[str, Any]]:
    """Settings that stored runs of earlier versions lack, by group.

    Each has the value that describes what those runs did. At this value a setting does
    not change the name of a run, and a comparison treats a run without it like a run
    with it.
    """
    return {
        "device": {"channels_last": False},
        "norm": NORM_OPTIONS_ADDED_LATER.get(norm, {}),
    }


def digest(config: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of everything that the result of a run depends on.

    Args:
        config: the resolved configuration.
    """
    kept = dict(config)
    for key in NOT_PART_OF_THE_RESULT:
        kept.pop(key, None)
    for group, unchanged in options_added_later(config["choices"]["norm"]).items():
        kept[group] = {
            key: value
            for key, value in config[group].items()
            if (key, value) not in unchanged.items()
        }
    text = json.dumps(kept, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(config: dict[str, Any]) -> str:
    """`GROUP/NORM-OPTIMIZER-lrLR-seedSEED-DIGEST`: readable, and unique to the run."""
    choices = config["choices"]
    parts = [choices["norm"], choices["optimizer"]]
    lr = config["optimizer"].get("lr")
    if lr is not None:
        parts.append(f"lr{lr:g}")
    parts.append(f"seed{config['seed']}")
    readable = _file_name("-".join(parts))
    return f"{_file_name(config['group'])}/{readable}-{digest(config)[:10]}"


def run_folder(config: dict[str, Any]) -> Path:
    """The folder of a run, which follows from its configuration alone."""
    return Path(config["paths"]["outputs"]) / run_name(config)


def _file_name(text: str) -> str:
    """At most 80 bytes that are a legal file name everywhere and never `..` or `.`."""
    name = re.sub(r"[^\w.=+-]+", "_", str(text)).lstrip(".")
    return name.encode()[:80].decode(errors="ignore") or "_"

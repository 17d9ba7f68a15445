"""A configuration as plain data: where it is stored, its digest, and the name of its run."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

# What may change without changing the result of a run, and therefore not its folder.
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

# Options that norms got later, by the norm's name, with what runs without them do.
LATER_OF_NORMS = {
    **{name: {"bias": True} for name in ("torch", "custom", "ghost", "batch_renorm")},
    "noisy_batch": {
        "bias": True,
        "track_running_stats": True,
        "sync": False,
        "kernel": "auto",
    },
}


def configuration_directory() -> Path:
    """`conf/` of the checkout, or the copy that the wheel carries."""
    checkout = Path(__file__).resolve().parents[3] / "conf"
    return (
        checkout
        if (checkout / "config.yaml").is_file()
        else Path(__file__).resolve().parents[1] / "conf"
    )


def came_later(norm: str) -> dict[str, dict[str, Any]]:
    """Settings that runs of earlier versions do not have, by group, with what those runs did.

    At these values they change no run's name, and a comparison takes runs without them for runs with them.
    """
    return {"device": {"channels_last": False}, "norm": LATER_OF_NORMS.get(norm, {})}


def digest(config: dict) -> str:
    """Hexadecimal SHA-256 of everything in a resolved configuration that the result depends on."""
    kept = {
        key: value for key, value in config.items() if key not in NOT_PART_OF_THE_RESULT
    }
    for group, unchanged in came_later(config["choices"]["norm"]).items():
        kept[group] = {
            key: value
            for key, value in config[group].items()
            if (key, value) not in unchanged.items()
        }
    return hashlib.sha256(
        json.dumps(kept, sort_keys=True, default=str).encode()
    ).hexdigest()


def run_name(config: dict) -> str:
    """`<group>/<norm>-<optimizer>-lr<lr>-seed<seed>-<digest>`: readable, and different for different runs."""
    choices, lr = config["choices"], config["optimizer"].get("lr")
    rate = "" if lr is None else f"-lr{lr:g}"
    readable = f"{choices['norm']}-{choices['optimizer']}{rate}-seed{config['seed']}"
    return f"{_file_name(config['group'])}/{_file_name(readable)}-{digest(config)[:10]}"


def run_folder(config: dict) -> Path:
    """The folder of the run, a function of its configuration alone."""
    return Path(config["paths"]["outputs"]) / run_name(config)


def _file_name(text: str) -> str:
    """At most 80 bytes that name a file on every system, and no other folder than one of its own."""
    name = re.sub(r"[^\w.=+-]+", "_", str(text)).lstrip(".")
    return name.encode()[:80].decode(errors="ignore") or "_"

"""The identity of a configuration: its digest, and the name and folder of its run."""

import hashlib
import json
import os
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from normlab.config.types import is_number
from normlab.files import read_yaml

# These may change without changing the result of a run, and therefore not its folder.
NOT_PART_OF_THE_RESULT = (
    "paths",
    "group",
    "rerun",
    "retry",
    "logger",
    "scores",
    "progress",
    "dry_run",
    "profile",
    "trusted_packages",
    "trial",
    "plan",
)

# Groups that may change a result once something is picked from them.
EMPTY_BY_DEFAULT = ("callbacks",)

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


# Options of `trainer` that came after runs had been stored, in the same way.
TRAINER_OPTIONS_ADDED_LATER: dict[str, Any] = {
    "max_samples": None,
    "limit_batches": None,
    "limit_scores": True,
    "test_every_epoch": False,
    "overfit_batches": None,
    "detect_anomaly": False,
    "max_steps": None,
    "max_seconds": None,
    "accumulate": 1,
    "average": None,
    "average_decay": 0.999,
    "average_start": 0.75,
    "average_batches": 100,
    "monitor_mode": None,
    "adaptive_clip": None,
    "recalibration_batches": None,
    "stop_at": None,
}


# Options that data sets were given after runs had been stored, by the name of the data
# set, with the values that describe what those runs did. They are arguments of the
# function that loads the data, too.
DATASET_OPTIONS_ADDED_LATER: dict[str, dict[str, Any]] = {
    "csv": {
        "encoding": None,
        "groups": None,
        "test_path": None,
        "target_transform": None,
    },
    "image_folder": {"use_val": False},
}


# The same for models.
MODEL_OPTIONS_ADDED_LATER: dict[str, dict[str, Any]] = {
    "vit": {"norm_place": "pre", "qk_norm": False, "layer_scale": None},
    "resnet": {"norm_place": "post", "no_norm_init": None},
}


# The same for the augmentations of images.
AUGMENTATIONS_ADDED_LATER: dict[str, Any] = {
    "rand_augment": None,
    "trivial_augment": False,
    "auto_augment": None,
    "color_jitter": None,
    "erasing": 0.0,
}


# Keys whose default in conf/ is null and whose values are real numbers.
REAL_NUMBERS = (
    *("gradient_clip", "adaptive_clip", "gamma", "mixup", "cutmix"),
    "layer_scale",
)

# Folders that this process has named. Each is of the configuration whose digest it has
# in its name, and of no other.
_named_here: set[Path] = set()

# What reading a configuration that is no configuration of ours may raise.
DAMAGED = (KeyError, TypeError, AttributeError, ValueError)


@cache
def configuration_directory() -> Path:
    """`conf/` of the checkout, or the copy that the wheel carries."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parents[1] / "conf"
    if (checkout / "config.yaml").is_file():
        return checkout
    return package / "conf"


def options_added_later(
    norm: str, dataset: str, model: str
) -> dict[str, dict[str, Any]]:
    """Settings that stored runs of earlier versions lack, by group.

    Each has the value that describes what those runs did. At this value a setting does
    not change the name of a run, and a comparison treats a run without it like a run
    with it.

    Args:
        norm: name of the norm.
        dataset: name of the data set.
        model: name of the model.
    """
    dataset_options = DATASET_OPTIONS_ADDED_LATER.get(dataset, {})
    return {
        "choices": {"debug": None},
        "device": {"channels_last": False},
        "task": {
            "_target_": None,
            "label_smoothing": 0.0,
            "class_weights": None,
            "mixup": None,
            "cutmix": None,
        },
        "trainer": TRAINER_OPTIONS_ADDED_LATER,
        "scheduler": {"warmup_steps": 0, "warmup_epochs": 0},
        "norm": NORM_OPTIONS_ADDED_LATER.get(norm, {}),
        "model": MODEL_OPTIONS_ADDED_LATER.get(model, {}),
        "dataset": {"train_size": None, "order": "shuffled"} | dataset_options,
        "dataset.load": dataset_options,
        "dataset.augment": AUGMENTATIONS_ADDED_LATER,
    }


def canonical(config: dict[str, Any]) -> dict[str, Any]:
    """What the result of a run depends on, spelled in one way.

    Settings that cannot change the result are left out. So are options that were added
    later, if they have the value that describes earlier runs. Numbers have the type
    that they have in conf/, so that 1 and 1.0 are the same rate. The cache below
    `paths.outputs` has one name, wherever that folder is.

    Args:
        config: the resolved configuration.
    """
    choices = config["choices"]
    kept = _relevant(config)
    for key, value in kept.items():
        choice = choices.get(key)
        default = _shipped_default(key, choice)
        kept[key] = _typed_alike(value, default)

    own_cache = f"{_outputs(config)}/.cache"
    load = kept["dataset"].get("load")
    if isinstance(load, dict) and load.get("cache") == own_cache:
        load["cache"] = "outputs/.cache"
    return kept


def _relevant(config: dict[str, Any]) -> dict[str, Any]:
    """The settings that the result of a run depends on, as they are spelled."""
    choices = config["choices"]
    kept = {}
    for key, value in config.items():
        is_empty = key in EMPTY_BY_DEFAULT and not value
        if key not in NOT_PART_OF_THE_RESULT and not is_empty:
            kept[key] = value
    if isinstance(kept.get("study"), dict):
        # It compares runs of the study among themselves, and changes none.
        kept["study"] = {**kept["study"]}
        kept["study"].pop("control", None)

    added = options_added_later(choices["norm"], choices["dataset"], choices["model"])
    for group, unchanged in added.items():
        path = group.split(".")
        _leave_out(kept, path, unchanged)
    return kept


def _leave_out(node: dict[str, Any], path: list[str], options: dict[str, Any]) -> None:
    """Remove options that have the given values from a group below a node.

    Args:
        node: replaced by copies where it changes.
        path: keys that lead to the group.
        options: keys and values to remove.
    """
    name, *rest = path
    if name not in node:
        return
    group = dict(node[name])
    node[name] = group
    if rest:
        _leave_out(group, rest, options)
        return
    for key, value in options.items():
        if key in group and group[key] == value:
            del group[key]


def _typed_alike(value: Any, default: Any, key: str = "") -> Any:
    """A copy of a value, its numbers with the types that they have in the default."""
    if isinstance(value, dict):
        defaults = default if isinstance(default, dict) else {}
        typed = {}
        for name, item in value.items():
            its_default = defaults.get(name)
            typed[name] = _typed_alike(item, its_default, name)
        return typed
    if not is_number(value):
        return value
    is_real = isinstance(default, float)
    if default is None:
        is_real = key in REAL_NUMBERS
    if is_real:
        return float(value) + 0.0  # minus zero becomes zero
    is_whole = type(default) is int and float(value).is_integer()
    return int(value) if is_whole else value


def _shipped_default(key: str, choice: str | None) -> Any:
    """What our own conf/ has for a key of the top level.

    Args:
        key: such as `seed`, or a group such as `norm`.
        choice: the picked option of the group; None for a key that is no group.
    """
    if choice is None:
        return _shipped("config.yaml").get(key)
    return _shipped(f"{key}/{choice}.yaml")


@cache
def _shipped(file: str) -> dict[Any, Any]:
    """The content of a file of our own conf/; empty if there is no such file.

    What the file takes over from others of its group is part of it.
    """
    path = configuration_directory() / file
    if not path.is_file():
        return {}
    loaded = OmegaConf.load(path)
    content = OmegaConf.to_container(loaded, resolve=False)
    if not isinstance(content, dict):
        return {}
    group, _, _ = file.rpartition("/")
    inherited: dict[Any, Any] = {}
    for base in content.pop("defaults", []):
        if group and isinstance(base, str) and base != "_self_":
            inherited |= _shipped(f"{group}/{base}.yaml")
    return inherited | content


def _outputs(config: dict[str, Any]) -> str:
    return str(config["paths"]["outputs"])


def digest(config: dict[str, Any]) -> str:
    """SHA-256, in hexadecimal, of everything that the result of a run depends on.

    Args:
        config: the resolved configuration.
    """
    return _sha256(canonical(config))


def _sha256(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def is_digest_of(found: object, config: dict[str, Any], folder: Path) -> bool:
    """Whether a stored digest is that of a configuration.

    Earlier versions took the digest of the configuration as it was spelled, with 1 and
    1.0 as different numbers. Such a digest counts if the configuration in the folder
    has it, and is the same as `config` apart from the spelling.

    Args:
        found: the digest in a stored file.
        config: the resolved configuration.
        folder: the run folder.
    """
    wanted = digest(config)
    return found == wanted or (wanted, found) == stored_digests(folder)


def run_name(config: dict[str, Any]) -> str:
    """`GROUP/NORM-OPTIMIZER-lrLR-seedSEED-DIGEST`: readable, and unique to the run.

    A stored run keeps the name that an earlier version gave it.
    """
    return name_of(run_folder(config))


def name_of(folder: Path) -> str:
    """The name of the run that has a folder."""
    return f"{folder.parent.name}/{folder.name}"


def run_folder(config: dict[str, Any]) -> Path:
    """The folder of a run, which follows from its configuration.

    Earlier versions took 1 and 1.0 for different rates and named runs accordingly. If
    such a run is stored, and no other, its folder is the folder of the run.
    """
    outputs = Path(_outputs(config))
    group = _file_name(config["group"])
    parent = outputs / group
    readable = _readable(config)
    wanted = digest(config)
    folder = parent / f"{readable}-{wanted[:10]}"
    _named_here.add(folder)
    if folder.is_dir():
        return folder
    # Most of the names belong to other runs; there may be thousands of them.
    similar = (name for name in _names(parent) if name.startswith(f"{readable}-"))
    for name in similar:
        other = parent / name
        if other in _named_here:
            continue
        stored = stored_digests(other)
        if stored is not None and stored[0] == wanted:
            return other
    return folder


def _readable(config: dict[str, Any]) -> str:
    norm = config["choices"]["norm"]
    optimizer = config["choices"]["optimizer"]
    name = f"{norm}-{optimizer}"
    lr = config["optimizer"].get("lr")
    if lr is not None:
        name += f"-lr{lr:g}"
    name += f"-seed{config['seed']}"
    return _file_name(name)


def _names(folder: Path) -> tuple[str, ...]:
    """Names in a folder, read again only if the folder has changed."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return ()
    return _names_at(folder, changed)


@lru_cache(maxsize=8)
def _names_at(folder: Path, changed: int) -> tuple[str, ...]:
    return tuple(sorted(os.listdir(folder)))


@cache
def stored_digests(folder: Path) -> tuple[str, str] | None:
    """The digest of the configuration in a run folder, and its digest as spelled.

    None if there is no readable configuration.
    """
    try:
        config = read_yaml(folder / "config.yaml")
        as_spelled = _relevant(config)
        return digest(config), _sha256(as_spelled)
    except (OSError, *DAMAGED):
        return None


def _file_name(text: str) -> str:
    """At most 80 bytes that are a legal file name everywhere and never `..` or `.`."""
    legal = re.sub(r"[^\w.=+-]+", "_", str(text))
    beginning = legal.lstrip(".").encode()[:80]
    return beginning.decode(errors="ignore") or "_"

"""Time and memory of `normlab.compare.load_runs` for many run folders.

    python benchmarks/load_runs.py [NUMBER]

NUMBER is 10,000 by default. The folders are made first, as a sweep over norms, learning
rates and seeds leaves them; one result in a thousand is cut in the middle. The
reference is reading the same files without parsing them, in the same process.
"""

import json
import resource
import sys
import tempfile
import time
from itertools import islice, product
from pathlib import Path

import yaml
from measure import Row, configured, show

from normlab.checksums import FILES, file_digests, with_checksum
from normlab.compare import load_runs
from normlab.config.identity import digest, run_folder
from normlab.results import SCHEMA

NORMS = ("none", "torch", "custom", "layer", "group")
RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
NAMES = ("config.yaml", "result.json", "environment.json")
# Limits for ten thousand folders.
SECONDS = 20
GIBIBYTES = 2
# What every run holds alike.
ORIGIN = {
    "git": {"commit": "0" * 40, "dirty": False},
    "python": sys.version.split()[0],
    "packages": {"normlab": "0", "torch": "0", "numpy": "0"},
    "device": {"accelerator": "cpu", "name": "cpu", "threads": 1},
    "platform": sys.platform,
    "command": ["train.py", "-m", "experiment=mlp_mnist"],
}
COUNTS = {
    "epochs": 10,
    "best_epoch": 9,
    "steps": 7500,
    "num_parameters": 109_770,
    "num_norm_parameters": 384,
}
SPEED = {
    "seconds": 10.0,
    "samples_per_second": 5e4,
    "step_milliseconds": 1.0,
    "outside_share": 0.2,
}


def make(outputs: Path, number: int) -> None:
    """Make folders of runs below `outputs`."""
    configs = {}
    for norm in NORMS:
        words = ("experiment=mlp_mnist", f"norm={norm}", f"paths.outputs={outputs}")
        configs[norm] = configured(*words)
    seeds = range(number)  # more than are needed
    settings = islice(product(seeds, RATES, NORMS), number)
    for place, (seed, lr, norm) in enumerate(settings):
        config = configs[norm] | {"seed": seed}
        config["optimizer"] = config["optimizer"] | {"lr": lr}
        _make_run(config, seed, is_cut=place % 1000 == 999)


def _make_run(config: dict, seed: int, is_cut: bool) -> None:
    """Make the folder of one run, with half of its result if that is cut."""
    folder = run_folder(config)
    folder.mkdir(parents=True)
    text = yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False)
    (folder / "config.yaml").write_text(text)
    (folder / "environment.json").write_text(json.dumps(ORIGIN, indent=2))
    result = _result(config, seed) | {FILES: file_digests(folder)}
    text = json.dumps(with_checksum(result), indent=2)
    if is_cut:
        text = text[: len(text) // 2]
    (folder / "result.json").write_text(text)


def _result(config: dict, seed: int) -> dict:
    scores = {}
    for part, name in product(("train", "val", "test"), ("accuracy", "loss")):
        scores[f"{part}/{name}"] = 0.5 + seed * 1e-6
    return {
        "schema": SCHEMA,
        "config_digest": digest(config),
        "choices": config["choices"],
        "seed": seed,
        "status": "finished",
        "reason": None,
        "metrics": scores,
        "initial_weights": f"{seed:016x}",
        **COUNTS,
        **SPEED,
    }


def _read_all(outputs: Path) -> int:
    """Read the files of all runs; returns their size in bytes."""
    size = 0
    for path in outputs.rglob(NAMES[0]):
        for name in NAMES:
            size += len((path.parent / name).read_bytes())
    return size


def rows(number: int = 10_000) -> list[Row]:
    """One row with the seconds; the memory is in its note."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), number)
        started = time.perf_counter()
        size = _read_all(Path(folder))
        read = time.perf_counter() - started
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        runs = load_runs(folder)
        loaded = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    note = (
        f"{len(runs):,} runs, {len(runs.attrs['unreadable'])} cut ones listed; peak "
        f"memory of the process {peak:.2f} GiB ({before / 2**20:.2f} before), to stay "
        f"under {GIBIBYTES}"
    )
    reach = round(SECONDS * number / 10_000 / read, 1)
    return [
        Row(
            f"load_runs over {number:,} folders",
            f"reading their {size / 1e6:.0f} MB",
            loaded,
            read,
            reach,
            note=note,
        )
    ]


if __name__ == "__main__":
    show(rows(*map(int, sys.argv[1:2])))

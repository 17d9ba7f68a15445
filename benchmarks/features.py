"""The head of a frozen AlexNet: cached features against features of every epoch.

    python benchmarks/features.py DATA

DATA is the folder that holds tiny-imagenet-20/ or tiny-imagenet-200/. The experiment
`alexnet_tiny_imagenet` runs as it is, on one thread, but with untrained weights, which
take the same time.
"""

import sys
import tempfile
import time
from pathlib import Path
from statistics import median_high

import torch
import torchvision
from measure import Row, configured, photographs, recorded_epochs, show

from normlab.config.identity import run_folder
from normlab.training.experiment import run
from normlab.training.preparation import prepare

EPOCHS = {"true": 4, "false": 2}  # the first is not counted


def measured(root: Path, outputs: str) -> dict[str, list[float]]:
    """Seconds of epochs with the cache (`true`) and without it, and of filling it.

    The first epoch of every run is not counted.
    """
    weights = Path(outputs) / "alexnet.pth"
    torch.save(torchvision.models.alexnet().state_dict(), weights)
    words = [
        "experiment=alexnet_tiny_imagenet",
        f"dataset.root={root}",
        f"paths.outputs={outputs}",
        "device.threads=1",
    ]
    words += [f"model.pretrained={weights}", "rerun=true", "progress=false"]
    found: dict[str, list[float]] = {"true": [], "false": [], "fill": []}
    prepare(configured(*words, "cache_features=false"))  # decodes the images
    started = time.perf_counter()
    prepare(configured(*words))
    found["fill"].append(time.perf_counter() - started)
    for cached in ("true", "false", "true"):
        config = configured(
            *words, f"cache_features={cached}", f"trainer.max_epochs={EPOCHS[cached]}"
        )
        run(config)
        found[cached] += recorded_epochs(run_folder(config))
    return found


def rows(root: str) -> list[Row]:
    """One row, or none if the folder holds no photographs."""
    folder = photographs(root)
    if folder is None:
        return []
    with tempfile.TemporaryDirectory() as outputs:
        found = measured(folder, outputs)
    cached = median_high(found["true"])
    computed = median_high(found["false"])
    name = (
        f"epoch of AlexNet's head at 224 pixels, {folder.name}, features from the cache"
    )
    note = (
        f"filling the cache took {found['fill'][0]:.0f} s, once for all norms, seeds "
        "and epochs"
    )
    return [
        Row(
            name,
            "features computed in every epoch",
            cached,
            computed,
            3,
            faster=True,
            note=note,
        )
    ]


if __name__ == "__main__":
    show(rows(sys.argv[1] if len(sys.argv) > 1 else "data"))

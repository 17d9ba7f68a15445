"""The head of a frozen AlexNet: epochs on features that were computed once, against epochs that compute them anew.

    python benchmarks/features.py DATA        (the folder that holds tiny-imagenet-20/ or tiny-imagenet-200/)

The experiment `alexnet_tiny_imagenet` as it is, on one thread, but for weights that were not trained: what they are
changes no time.
"""

import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from measure import Row, configured, photographs, recorded_epochs, show

from normlab.config.identity import run_folder
from normlab.training.experiment import run
from normlab.training.preparation import prepare

EPOCHS = {"true": 4, "false": 3}  # the first is not counted


def measured(root: Path, outputs: str) -> dict[str, list[float]]:
    """Seconds of every epoch but the first, with the cache (true) and without; and of filling it (fill)."""
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
    """One row; none without photographs."""
    folder = photographs(root)
    if folder is None:
        return []
    with tempfile.TemporaryDirectory() as outputs:
        found = measured(folder, outputs)
    cached, anew = (
        sorted(found[key])[len(found[key]) // 2] for key in ("true", "false")
    )
    name = (
        f"epoch of AlexNet's head at 224 pixels, {folder.name}, features from the cache"
    )
    note = f"filling the cache took {found['fill'][0]:.0f} s, once for all norms, seeds and epochs"
    return [
        Row(
            name,
            "features computed in every epoch",
            cached,
            anew,
            3,
            faster=True,
            note=note,
        )
    ]


if __name__ == "__main__":
    show(rows(sys.argv[1] if len(sys.argv) > 1 else "data"))

"""The stored files that are damaged: of runs, of a killed run, a cache and a search."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from damages import killed_in_the_middle
from kills import changes_of
from PIL import Image
from readings import (
    Reading,
    Subject,
    cached_images,
    resumed,
    scores,
    searched,
    stored_result,
    tables,
)
from runs import Run, at, called, configuration

from normlab.config.identity import run_folder

# Damages of every kind of file, 1,000 in all.
SHARES = {
    "result.json": 120,
    "config.yaml": 120,
    "best.ckpt": 120,
    "last.ckpt": 160,
    "metrics.csv": 120,
    "statistics.csv": 120,
    "predictions.npz": 40,
    "events": 60,
    "cache": 60,
    "study.journal": 80,
}
SMALL = (
    "model.hidden=[16]",
    "trainer.max_epochs=2",
    "dataset.batch_size=256",
    "checkpoint.every_n_steps=3",
)
SEARCH = (
    *("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=3"),
    *("hydra.sweeper.seeds=[0]", "optimizer.lr=tag(log, interval(0.001, 1))"),
    *("device=cpu", "trainer.max_epochs=1", "model.hidden=[16]"),
    *("logger=[]", "statistics.every_n_epochs=0", "progress=false"),
)


def make(scratch: Path) -> dict[str, tuple[Subject, ...]]:
    """Store what the damages need below a folder, and name the files by their kind."""
    finished = of_finished_runs(scratch / "finished")
    killed = _of_killed_runs(scratch / "killed")
    return {
        "result.json": (finished["result.json"],),
        "config.yaml": (finished["config.yaml"],),
        "best.ckpt": (finished["best.ckpt"],),
        "last.ckpt": (killed["last.ckpt"],),
        "metrics.csv": (finished["metrics.csv"], killed["metrics.csv"]),
        "statistics.csv": (finished["statistics.csv"], killed["statistics.csv"]),
        "predictions.npz": (finished["predictions.npz"],),
        "events": (killed["events"],),
        "cache": (_cache(scratch / "cache"),),
        "study.journal": (_search(scratch / "search"),),
    }


def _subject(
    outputs: Path, file: Path, twin: Path, readings: Sequence[Reading]
) -> Subject:
    return Subject(
        outputs,
        str(file.relative_to(outputs)),
        str(twin.relative_to(outputs)),
        readings,
    )


def of_finished_runs(outputs: Path) -> dict[str, Subject]:
    """The files of one of two runs that have ended, the other being the twin."""
    outputs.mkdir()
    configs = {}
    for seed in (0, 1):
        config = at(configuration(*SMALL, f"seed={seed}"), outputs)
        ended = Run(config, outputs.parent / "status").ended()
        assert ended == "finished", ended
        configs[run_folder(config)] = config
    run, twin = sorted(configs)
    readings = (
        tables,
        partial(scores, str(run.relative_to(outputs))),
        partial(stored_result, configs[run]),
    )
    files = ("result.json", "config.yaml", "checkpoints/best.ckpt")
    return {
        Path(file).name: _subject(outputs, run / file, twin / file, readings)
        for file in (*files, "metrics.csv", "statistics.csv", "predictions.npz")
    }


def _of_killed_runs(outputs: Path) -> dict[str, Subject]:
    """The files of one of two runs that were killed in their second epoch."""
    outputs.mkdir()
    configs = {}
    for seed in (0, 1):
        scratch = outputs.parent / f"killing-{seed}"
        scratch.mkdir()
        config = configuration(*SMALL, f"seed={seed}")
        changes = changes_of(config, scratch)
        config = at(config, outputs)
        configs[killed_in_the_middle(config, scratch, changes)] = config
    run, twin = sorted(configs)
    readings = (partial(resumed, configs[run]),)
    found = {}
    for kind, pattern in (
        ("last.ckpt", "checkpoints/last.ckpt"),
        ("metrics.csv", "metrics.csv"),
        ("statistics.csv", "statistics.csv"),
        ("events", "events.out.*"),
    ):
        (own,), (other,) = run.glob(pattern), twin.glob(pattern)
        found[kind] = _subject(outputs, own, other, readings)
    return found


def _cache(outputs: Path) -> Subject:
    """Decoded images, and the cache of other images."""
    outputs.mkdir()
    generator = np.random.default_rng(0)
    configs = []
    for number in (0, 1):
        photographs = outputs.parent / f"photographs-{number}"
        for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
            (photographs / name).mkdir(parents=True)
            for count in range(6):
                pixels = generator.integers(256, size=(16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(photographs / name / f"{count}.png")
        configs.append(
            configuration(
                *("dataset=image_folder", f"dataset.root={photographs}"),
                *("dataset.stored_size=16", "model=lenet5"),
            )
        )
    caches = []
    for config in configs:
        called(cached_images, config, outputs)
        found = set((outputs / ".cache").glob("*.npy"))
        caches += sorted(found - set(caches))
    readings = (partial(cached_images, configs[0]),)
    return _subject(outputs, caches[0], caches[-1], readings)


def _search(outputs: Path) -> Subject:
    """A search that is complete, and the journal of another one."""
    journals = []
    for name, sampler in (("mine", "tpe"), ("other", "random")):
        folder = outputs / name
        folder.mkdir(parents=True)
        words = (*SEARCH, f"hydra/sweeper/sampler={sampler}")
        called(searched, words, folder)
        journals += folder.glob("*/*/study.journal")
    own, other = journals
    shutil.copy(other, outputs / "mine" / "other.journal")
    words = (*SEARCH, "hydra/sweeper/sampler=tpe")
    return _subject(
        outputs / "mine",
        own,
        outputs / "mine" / "other.journal",
        (partial(searched, words),),
    )

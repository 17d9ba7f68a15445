"""The stored files that are damaged: of runs, of a killed run, a cache and a search."""

import shutil
from collections.abc import Mapping, Sequence
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
    in_notebook,
    in_tensorboard,
    predicted,
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
    "result.json": 100,
    "config.yaml": 100,
    "environment.json": 60,
    "inputs.json": 80,
    "predictions.npz": 60,
    "best.ckpt": 100,
    "last.ckpt": 120,
    "previous.ckpt": 60,
    "metrics.csv": 100,
    "statistics.csv": 80,
    "events": 40,
    "cache": 40,
    "study.journal": 60,
}
# Files of a run folder that only people and other programs read.
UNREAD = {"mistakes.csv", "mistakes_val.png", "mistakes_test.png", ".lock"}
# The files of runs by their kind, as patterns.
BOTH = {
    "config.yaml": "config.yaml",
    "environment.json": "environment.json",
    "inputs.json": "inputs.json",
    "metrics.csv": "metrics.csv",
    "statistics.csv": "statistics.csv",
}
FINISHED = BOTH | {
    "result.json": "result.json",
    "predictions.npz": "predictions.npz",
    "best.ckpt": "checkpoints/best.ckpt",
    "events": "events.out.*.0",  # of the training; another one holds the scores
}
# The best checkpoint is written when a run ends.
KILLED = BOTH | {
    "last.ckpt": "checkpoints/last.ckpt",
    "previous.ckpt": "checkpoints/previous.ckpt",
    "events": "events.out.*",
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
    killed = of_killed_runs(scratch / "killed")
    without_last = of_killed_runs(scratch / "without last", has_last=False)
    return {
        "result.json": (finished["result.json"],),
        "config.yaml": (finished["config.yaml"], killed["config.yaml"]),
        "environment.json": (finished["environment.json"], killed["environment.json"]),
        "inputs.json": (finished["inputs.json"], killed["inputs.json"]),
        "predictions.npz": (finished["predictions.npz"],),
        "best.ckpt": (finished["best.ckpt"],),
        "last.ckpt": (killed["last.ckpt"],),
        "previous.ckpt": (without_last["previous.ckpt"],),
        "metrics.csv": (finished["metrics.csv"], killed["metrics.csv"]),
        "statistics.csv": (finished["statistics.csv"], killed["statistics.csv"]),
        "events": (finished["events"], killed["events"]),
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
    name = str(run.relative_to(outputs))
    readings = (
        tables,
        partial(scores, name),
        partial(predicted, name),
        partial(in_notebook, name),
        partial(in_tensorboard, name),
        partial(stored_result, configs[run]),
    )
    return _subjects(outputs, run, twin, FINISHED, readings)


def of_killed_runs(outputs: Path, has_last: bool = True) -> dict[str, Subject]:
    """The files of one of two runs that were killed in their second epoch.

    Args:
        outputs: a folder that does not exist yet.
        has_last: False deletes the last checkpoint of both.
    """
    outputs.mkdir()
    configs = {}
    for seed in (0, 1):
        scratch = outputs.parent / f"{outputs.name}-{seed}"
        scratch.mkdir()
        config = configuration(*SMALL, f"seed={seed}")
        changes = changes_of(config, scratch)
        config = at(config, outputs)
        configs[killed_in_the_middle(config, scratch, changes)] = config
    run, twin = sorted(configs)
    files = dict(KILLED)
    if not has_last:
        del files["last.ckpt"]
        for folder in configs:
            (folder / "checkpoints" / "last.ckpt").unlink()
    return _subjects(outputs, run, twin, files, (partial(resumed, configs[run]),))


def _subjects(
    outputs: Path,
    run: Path,
    twin: Path,
    files: Mapping[str, str],
    readings: Sequence[Reading],
) -> dict[str, Subject]:
    """The files of a run by their kind; `files` has a pattern for each."""
    found = {}
    for kind, pattern in files.items():
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

"""Finished runs of images, a table and a regression, for the tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from normlab.config.identity import run_folder
from normlab.predict.predictor import load_predictor
from normlab.training.experiment import run

COMMON = ("progress=false", "trainer.max_epochs=1", "model.hidden=[8]")


@pytest.fixture(scope="session")
def train(compose, tmp_path_factory):
    """train(*words): the folder of a run."""
    outputs = tmp_path_factory.mktemp("outputs")

    def train_run(*words: str) -> Path:
        config = OmegaConf.to_container(
            compose(*COMMON, f"paths.outputs={outputs}", *words), resolve=True
        )
        run(config)
        return run_folder(config)

    return train_run


@pytest.fixture(scope="session")
def digits(train):
    """A run of gray images, whose network gets them as they are."""
    return train("model=mlp", "dataset=digits", "norm=custom")


def write_pictures(folder: Path, seed: int) -> None:
    """Bright cats and dark dogs, of 12 x 20 pixels."""
    random = np.random.default_rng(seed)
    for name, brightness in (("cat", 170), ("dog", 60)):
        (folder / name).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 80, (20, 12, 3)) + brightness
            image = Image.fromarray(pixels.astype(np.uint8))
            image.save(folder / name / f"{number}.png")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A folder with train/ and test/, each with cat/ and dog/."""
    folder = tmp_path_factory.mktemp("pictures")
    for seed, part in enumerate(("train", "test")):
        write_pictures(folder / part, seed)
    return folder


@pytest.fixture(scope="session")
def photographs(train, pictures):
    """A run of photographs in folders, stored at 8 and enlarged to 16 pixels."""
    return train(
        *("model=mlp", "dataset=image_folder", f"dataset.root={pictures}"),
        *("dataset.stored_size=8", "dataset.image_size=16", "dataset.batch_size=4"),
        *("trainer.max_epochs=10", "norm=custom", "dataset.validation=0.25"),
    )


def write_table(path: Path, target: str) -> None:
    """Rows of a number, a category and a column that is left out."""
    random = np.random.default_rng(0)
    lines = [f"size,colour,id,{target}"]
    for number in range(60):
        size = round(float(random.normal()), 3)
        colour = ("red", "blue")[number % 2]
        value = round(2000 + 3 * size + (number % 2), 3)
        if target == "kind":
            value = "big" if size > 0 else "small"
        lines.append(f"{size if number % 7 else '?'},{colour},{number},{value}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def table(train, tmp_path_factory):
    """table(target): the file and the run that predicts its last column."""
    folder = tmp_path_factory.mktemp("tables")
    made = {}

    def run_of(target: str) -> tuple[Path, Path]:
        if target not in made:
            path = folder / f"{target}.csv"
            write_table(path, target)
            task = "classification" if target == "kind" else "regression"
            made[target] = (
                path,
                train(
                    *("model=tabular", "dataset=csv", f"dataset.root={path}"),
                    *(f"dataset.target={target}", f"dataset.task={task}"),
                    *("dataset.drop=[id]", "norm=torch", "dataset.batch_size=8"),
                ),
            )
        return made[target]

    return run_of


@pytest.fixture(scope="session")
def predictor_of():
    """predictor_of(folder): the predictor of a run, loaded once."""
    loaded = {}

    def load(folder: Path):
        if folder not in loaded:
            loaded[folder] = load_predictor(folder)
        return loaded[folder]

    return load

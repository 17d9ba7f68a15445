"""A stored run is scored as it was, and otherwise as asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from omegaconf import OmegaConf

from normlab.checksums import best_checkpoint
from normlab.config.identity import run_folder
from normlab.data import images
from normlab.evaluation.evaluate import (
    evaluate_grid,
    evaluate_run,
    load_run,
    read_run,
    read_stored,
)
from normlab.evaluation.inspection import describe_layers, inspect_run
from normlab.evaluation.scored_data import _load_other_parts
from normlab.results import read_result, write_result
from normlab.training.checkpoint_files import load, save
from normlab.training.experiment import run
from normlab.training.recalibration import training_batches

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def test_a_stored_run_scores_as_it_did(stored):
    folder, result, _ = stored
    assert evaluate_run(folder) == result["metrics"]


def test_the_best_checkpoint_of_another_run_is_refused(stored, tmp_path):
    folder = Path(shutil.copytree(stored[0], tmp_path / stored[0].name))
    path = best_checkpoint(folder)
    state = load(path)
    assert state["run"] == folder.name
    save(path, state | {"run": "none-sgd-lr0.1-seed7-0123456789"})
    with pytest.raises(ValueError, match=r"best\.ckpt is of the run none-sgd-lr0\.1"):
        load_run(folder)
    weights = {name: value + 1 for name, value in state["network"].items()}
    save(path, state | {"network": weights})
    with pytest.raises(ValueError, match=r"best\.ckpt is not the checkpoint that was"):
        load_run(folder)
    save(path, {"weights": weights})
    with pytest.raises(ValueError, match=r"best\.ckpt must hold the best state"):
        load_run(folder)


def test_a_folder_that_was_renamed_is_scored(stored, tmp_path):
    folder = Path(shutil.copytree(stored[0], tmp_path / "my favourite run"))
    assert evaluate_run(folder) == stored[1]["metrics"]


def test_a_changed_result_is_refused(stored, tmp_path):
    folder = Path(shutil.copytree(stored[0], tmp_path / stored[0].name))
    path = folder / "result.json"
    path.write_text(path.read_text().replace('"steps": ', '"steps": 1'))
    with pytest.raises(ValueError, match=r"result\.json does not match its checksum"):
        evaluate_run(folder)


def test_a_runs_own_data_by_name_score_alike(stored):
    folder, result, config = stored
    assert evaluate_run(folder, dataset=config["dataset"]) == result["metrics"]


def test_statistics_change_the_score_but_not_much(stored):
    folder, result, _ = stored
    for statistics in ("batch", "recalibrated"):
        metrics = evaluate_run(folder, statistics=statistics)
        assert metrics["test/loss"] != result["metrics"]["test/loss"]
        assert metrics["test/accuracy"] == pytest.approx(
            result["metrics"]["test/accuracy"], abs=0.05
        )


def test_frozen_statistics_are_the_stored_ones(stored):
    folder, result, _ = stored
    assert evaluate_run(folder, statistics="frozen") == result["metrics"]


def test_recalibration_depends_on_the_number_of_batches(stored):
    folder = stored[0]
    few = evaluate_run(folder, statistics="recalibrated", num_batches=1)
    more = evaluate_run(folder, statistics="recalibrated", num_batches=20)
    assert few["test/loss"] != more["test/loss"]


def test_training_batches_are_those_of_one_epoch_at_most(stored):
    config, prepared = load_run(stored[0])
    train = prepared.parts.train
    some = list(training_batches(config, train, 3))
    assert [len(block.targets) for block in some] == [
        config["dataset"]["batch_size"]
    ] * 3
    assert len(list(training_batches(config, train, 1000))) == 18


def test_mistakes_are_named(stored, tmp_path):
    folder = stored[0]
    with pytest.raises(ValueError, match="must be the folder of a run"):
        evaluate_run(tmp_path)
    with pytest.raises(
        ValueError,
        match="statistics must be one of running, batch, recalibrated, frozen, ad",
    ):
        evaluate_run(folder, statistics="moving")
    with pytest.raises(ValueError, match="num_batches must be at least 1, got 0"):
        evaluate_run(folder, statistics="recalibrated", num_batches=0)


def test_data_that_do_not_fit_the_network_are_refused(stored, compose):
    table = OmegaConf.to_container(compose("dataset=diabetes").dataset, resolve=True)
    message = (
        r"takes inputs \(1, 8, 8\) and has 10 outputs, dataset=diabetes has \(10,\)"
    )
    with pytest.raises(ValueError, match=message):
        evaluate_run(stored[0], dataset=table)


def test_events_of_another_run_are_named_once(stored, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(stored[0], folder)
    events = sorted(folder.glob("events.out.*"))
    assert events
    events[0].write_bytes(b"curves of another run")
    for _ in range(2):
        read_run(folder, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: {events[0]} was changed after the run ended")


def test_packages_that_a_run_calls_must_be_trusted(stored, tmp_path):
    config = stored[2] | {"trusted_packages": ["mine", "yours"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        ValueError, match="trusted must name yours, since the run calls code there"
    ):
        evaluate_run(tmp_path, trusted=["mine"])


def write_table(path, names, swap=False):
    """A table of 60 rows whose class is the sign of `a`.

    Args:
        path: of the file.
        names: of the classes for negative and positive numbers.
        swap: whether the first row is positive.
    """
    numbers = np.linspace(-3, 3, 60)
    if swap:
        numbers = numbers[::-1]
    lines = [
        f"{number:.3f},{number**2:.3f},{names[int(number > 0)]}" for number in numbers
    ]
    path.write_text("\n".join(["a,b,y", *lines]) + "\n")
    return path


@pytest.fixture
def table_run(compose, tmp_path):
    """Folder of a run that tells neg from pos, and a function for other tables."""

    def dataset(names, **options):
        name = "-".join([*names, *options])
        path = write_table(tmp_path / f"{name}.csv", names, **options)
        return [
            *("dataset=csv", f"dataset.root={path}", "dataset.target=y"),
            *("dataset.task=classification", "dataset.split=stratified"),
        ]

    words = [
        *(*dataset(("neg", "pos")), "model=tabular", "trainer.max_epochs=20"),
        *("progress=false", f"paths.outputs={tmp_path / 'outputs'}"),
    ]
    config = OmegaConf.to_container(compose(*words), resolve=True)
    result = run(config)

    def other(names, **options):
        node = compose(*dataset(names, **options)).dataset
        return OmegaConf.to_container(node, resolve=True)

    return run_folder(config), result, other


def test_classes_are_stored_and_matched_by_name(table_run):
    folder, result, other = table_run
    assert result["classes"] == ["neg", "pos"]
    accuracy = result["metrics"]["test/accuracy"]
    assert accuracy > 0.8
    # The first row is positive in one file, and the names are exchanged in the other.
    reversed_rows = evaluate_run(folder, other(("neg", "pos"), swap=True))
    assert reversed_rows["test/accuracy"] > 0.6
    exchanged = evaluate_run(folder, other(("pos", "neg")))
    assert exchanged["test/accuracy"] == pytest.approx(1 - accuracy)


def test_classes_in_another_order_get_their_own_outputs(table_run):
    """A data set of one's own may number its classes in any order."""
    folder, result, other = table_run
    stored = read_result(folder)
    # As if the run had numbered them so.
    write_result(folder, stored | {"classes": ["pos", "neg"]})
    accuracy = evaluate_run(folder)["test/accuracy"]
    assert accuracy == pytest.approx(1 - result["metrics"]["test/accuracy"])
    again = evaluate_run(folder, other(("neg", "pos")))["test/accuracy"]
    assert again == pytest.approx(accuracy)


@pytest.mark.parametrize(
    ("names", "unknown"),
    [
        (("neg", "abnormal"), "abnormal"),
        (("zero", "one"), "one, zero"),
        (("0", "1"), "0, 1"),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_classes_that_the_run_does_not_know_are_refused(
    table_run, names, unknown, is_old
):
    folder, _, other = table_run
    if is_old:  # the training data of the run give the names
        result = read_result(folder)
        del result["classes"]
        write_result(folder, result)
    with pytest.raises(
        ValueError,
        match="dataset=csv has classes that the run does not know: "
        f"{unknown}; it knows neg, pos",
    ):
        evaluate_run(folder, other(names))


def test_classes_of_a_runs_own_data_may_not_change(table_run, tmp_path):
    folder, _, _ = table_run
    write_table(tmp_path / "neg-pos.csv", ("neg", "positive"))
    with pytest.raises(
        ValueError, match="must have the 2 classes .* differ in pos, positive; restore"
    ):
        evaluate_run(folder)


def test_stored_classes_must_be_names(table_run):
    folder, _, _ = table_run
    for classes in ("neg", [1, 2]):
        (folder / "result.json").write_text(json.dumps({"classes": classes}))
        with pytest.raises(ValueError, match="classes must be a list of names, got"):
            evaluate_run(folder)
    (folder / "result.json").write_text("[]")
    with pytest.raises(ValueError, match="result.json must hold the result of a run"):
        read_stored(folder)
    (folder / "result.json").unlink()
    assert read_stored(folder) == {}


def test_data_without_names_are_matched_by_number(stored, monkeypatch, capsys):
    folder, _, config = stored
    digits = images.digits()
    nameless = {**config["dataset"], "num_classes": 10, "name": "nameless"}
    own = load_run(folder)[1]
    monkeypatch.setattr(images, "digits", lambda: replace(digits, class_names=()))
    parts = _load_other_parts(config, nameless, own.parts)
    assert parts.test.targets.equal(digits.test_targets)
    assert "dataset=nameless or the run names no classes" in capsys.readouterr().err


@pytest.fixture(scope="module")
def frozen(compose, tmp_path_factory):
    """A run on features that were computed once, behind batch norms."""
    pytest.importorskip("timm")
    outputs = tmp_path_factory.mktemp("frozen")
    words = (
        *("model=efficientnet_lite0", "model.norm_at=[features]", "norm=torch"),
        *("model.freeze=features", "dataset.image_size=32", "trainer.max_samples=64"),
        *("model.hidden=[]", "dataset.batch_size=32", "trainer.max_epochs=1"),
        *("progress=false", f"paths.outputs={outputs}"),
    )
    config = OmegaConf.to_container(compose(*words), resolve=True)
    run(config)
    assert list((outputs / ".cache").iterdir())
    return run_folder(config)


def test_frozen_layers_get_the_statistics_that_are_asked_for(frozen):
    running = evaluate_run(frozen)
    (alone,) = evaluate_grid(frozen, statistics=["batch"])
    both = evaluate_grid(frozen, shifts=["none", "contrast:5"], statistics=["batch"])
    assert both[0] == alone
    assert alone.metrics["test/loss"] != pytest.approx(running["test/loss"])


def test_frozen_layers_score_other_images(frozen, compose):
    config = OmegaConf.to_container(compose("dataset=digits"), resolve=True)
    found = evaluate_run(frozen, config["dataset"])
    assert found == pytest.approx(evaluate_run(frozen), rel=1e-4)


def test_frozen_layers_are_inspected(frozen, monkeypatch):
    described = []

    def describe(network, layers, batches):
        described.append(len(layers))
        return describe_layers(network, layers, batches)

    monkeypatch.setattr("normlab.evaluation.inspection.describe_layers", describe)
    states = inspect_run(frozen, 1)
    assert described == [49]
    assert len(states) == 49
    assert states[0].name == "features.bn1.norm"


def test_a_run_is_scored_where_its_loggers_are_missing(stored, monkeypatch):
    def refuse(config):
        if config["logger"]:
            raise ValueError("logger=wandb needs the package wandb")

    monkeypatch.setattr("normlab.training.preparation.check_loggers", refuse)
    assert evaluate_run(stored[0])["val/accuracy"] > 0

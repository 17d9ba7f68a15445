"""A stored run is scored as it was, and otherwise as asked."""

import pytest
import yaml
from omegaconf import OmegaConf

from normlab.evaluation.evaluate import evaluate_run, load_run, training_batches

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


def test_a_stored_run_scores_as_it_did(stored):
    folder, result, _ = stored
    assert evaluate_run(folder) == result["metrics"]


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
        match="statistics must be one of running, batch, recalibrated, frozen, got",
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


def test_packages_that_a_run_calls_must_be_trusted(stored, tmp_path):
    config = stored[2] | {"trusted_packages": ["mine", "yours"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        ValueError, match="trusted must name yours, since the run calls code there"
    ):
        evaluate_run(tmp_path, trusted=["mine"])

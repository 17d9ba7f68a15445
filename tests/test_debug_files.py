"""The debug modes of conf/debug: what they train on, and that they are no results."""

import pytest
from omegaconf import OmegaConf

from normlab.compare.runs import load_runs
from normlab.config.identity import digest, run_folder
from normlab.config.rules import check
from normlab.config.schema import options
from normlab.data.blocks import EvaluationBlocks, Progress, TrainBlocks
from normlab.data.parts import load_parts
from normlab.training.experiment import run

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = (f"paths.outputs={tmp_path}", "progress=false", *overrides)
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


@pytest.mark.parametrize("name", options("debug"))
def test_debug_runs_have_a_group_of_their_own_and_train_every_time(config, name):
    settings = config(f"debug={name}", "dataset=diabetes", "experiment=tabular_kfold")
    check(settings)
    assert settings["group"] == "debug-diabetes-tabular"
    assert settings["rerun"] is True
    assert settings["device"]["accelerator"] == "cpu"
    assert settings["choices"]["debug"] == name


def test_the_same_settings_without_debug_are_another_run(config):
    debugged = config("debug=default")
    plain = config("trainer.max_epochs=1", "trainer.detect_anomaly=true")
    plain["device"] = debugged["device"]
    assert digest(debugged) != digest(plain)
    without = plain["choices"] | {"debug": None}
    del plain["choices"]["debug"]
    assert digest(plain) == digest(plain | {"choices": without})


def parts_of(settings):
    return load_parts(settings, settings["dataset"]["image_size"])


def test_limit_batches_takes_other_samples_every_epoch_and_scores_as_many(config):
    settings = config("trainer.limit_batches=2", "dataset.batch_size=16")
    parts = parts_of(settings)
    progress = Progress()
    blocks = TrainBlocks(parts.train, 16, 0, progress)
    first = next(iter(blocks)).inputs
    progress.epoch, progress.steps = 1, 2
    second = next(iter(blocks)).inputs
    assert len(blocks) == 1
    assert first.shape == second.shape == (32, 1, 8, 8)
    assert not first.equal(second)
    # Every 4th of 131 or so: the rows of a scoring are spread over the whole part.
    for part in parts.by_name.values():
        rows = EvaluationBlocks(part).rows
        assert len(rows) == 32
        assert rows[0] == part.rows[0]
        assert rows[16] == part.rows[len(part.rows) // 2]


def test_scores_may_have_whole_parts_in_short_epochs(config):
    words = ("trainer.limit_batches=2", "dataset.batch_size=16")
    whole = {name: len(part) for name, part in parts_of(config()).by_name.items()}
    parts = parts_of(config(*words, "trainer.limit_scores=false")).by_name
    lengths = {name: len(part) for name, part in parts.items()}
    assert lengths == whole | {"train": 32}


def test_a_share_of_the_batches_is_rounded_down_but_never_to_none(config):
    # 1,150 samples train in 18 batches of 64; a tenth of any part is less than two.
    settings = config("trainer.limit_batches=0.1")
    lengths = {name: len(part) for name, part in parts_of(settings).by_name.items()}
    assert lengths == {"train": 64, "val": 64, "test": 64}


def test_overfitting_scores_the_samples_that_it_trains_on(config):
    settings = config("debug=overfit", "dataset.batch_size=8")
    parts = parts_of(settings)
    assert len(parts.train) == 24
    for part in (parts.validation, parts.test):
        assert part.rows.equal(parts.train.rows)
        assert part.inputs is parts.train.inputs


def test_a_debug_run_does_everything_and_is_left_out_of_comparisons(config, tmp_path):
    settings = config("debug=fast")
    result = run(settings)
    assert (result["status"], result["epochs"], result["steps"]) == ("finished", 1, 1)
    first = (run_folder(settings) / "result.json").stat().st_mtime_ns
    run(settings)
    assert (run_folder(settings) / "result.json").stat().st_mtime_ns > first
    with pytest.raises(ValueError, match="a trial with debug=fast, which is no result"):
        load_runs(tmp_path)

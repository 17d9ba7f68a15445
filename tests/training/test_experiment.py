"""Whole runs on scikit-learn's digits, by the function that the command line calls."""

import builtins
import csv
import errno
import json
import os
import re
import shutil
import signal
import threading

import pytest
import torch
from omegaconf import OmegaConf

from normlab.checksums import best_checkpoint
from normlab.config.identity import run_folder
from normlab.endings import DiskFull, Interrupted, StorageFault
from normlab.evaluation.evaluate import evaluate_run
from normlab.loggers import TENSORBOARD_GROUP
from normlab.results import read_result, write_json
from normlab.training.checkpoint_files import load
from normlab.training.checkpoints import Checkpoints
from normlab.training.experiment import clear, run
from normlab.training.preparation import prepare
from training.kills import kill_after

QUICK = ("trainer.max_epochs=2", "progress=false")
# Lightning inspects how often it is asked to log; nothing is lost by it.
pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        composed = compose(*QUICK, f"paths.outputs={tmp_path}", *overrides)
        return OmegaConf.to_container(composed, resolve=True)

    return make


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in csv.DictReader(file)
        ]


def test_a_run_folder_holds_everything(config):
    settings = config()
    result = run(settings)
    folder = run_folder(settings)
    assert result["status"] == "finished"
    assert result == read_result(folder)
    assert set(result["metrics"]) == {
        f"{part}/{name}"
        for part in ("train", "val", "test")
        for name in ("loss", "accuracy")
    }
    assert result["metrics"]["test/accuracy"] > 0.9
    assert [row["epoch"] for row in rows(folder)] == ["1", "2"]
    assert OmegaConf.load(folder / "config.yaml").choices.norm == "custom"
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]


def test_a_result_tells_what_arms_share_and_what_a_step_took(config):
    results = {
        norm: run(config(f"norm={norm}", "trainer.max_epochs=1"))
        for norm in ("none", "custom", "weight_norm")
    }
    assert len({result["initial_weights"] for result in results.values()}) == 1
    assert len({result["data_digest"] for result in results.values()}) == 1
    other = run(config("norm=none", "trainer.max_epochs=1", "seed=1"))
    assert other["initial_weights"] != results["none"]["initial_weights"]
    assert other["data_digest"] == results["none"]["data_digest"]  # of another seed
    custom = results["custom"]
    assert custom["num_norm_parameters"] == 2 * (128 + 64)
    assert (
        custom["num_parameters"] - results["none"]["num_parameters"]
        == custom["num_norm_parameters"]
    )
    assert 0 <= custom["outside_share"] <= 1
    assert custom["step_milliseconds"] * custom["steps"] / 1000 <= custom["seconds"]
    assert custom["samples_per_second"] > 0


def test_a_finished_run_is_returned_as_stored(config, monkeypatch):
    first = run(config())
    monkeypatch.setattr(
        "normlab.training.preparation.prepare",
        lambda config: pytest.fail("trained again"),
    )
    assert run(config()) == first


def test_the_result_of_another_configuration_is_not_returned(config):
    settings, other = (
        config("trainer.max_epochs=1"),
        config("trainer.max_epochs=1", "seed=1"),
    )
    run(settings)
    run_folder(settings).rename(run_folder(other))
    with pytest.raises(
        ValueError, match="holds the result of another configuration; move it away"
    ):
        run(other)


def test_rerun_gives_the_same_numbers(config):
    settings = config()
    first = run(settings | {"plan": "first"})
    again = run(config("rerun=true") | {"plan": "second"})
    assert first["metrics"] == again["metrics"]
    stored = OmegaConf.load(run_folder(settings) / "config.yaml")
    assert stored.plan == "first"  # its result was there to be looked at


def test_none_has_no_norm_layer(config):
    assert run(config("norm=none", "trainer.max_epochs=1"))["num_norm_layers"] == 0
    assert run(config("norm=torch", "trainer.max_epochs=1"))["num_norm_layers"] == 2


def test_an_exception_ends_as_failed_with_its_traceback(config, monkeypatch, capsys):
    settings = config() | {"progress": True}  # without, a sweep tells it

    def explode(*arguments):
        raise RuntimeError("out of something")

    monkeypatch.setattr("normlab.training.train.fit", explode)
    result = run(settings)
    assert (result["status"], result["reason"]) == (
        "failed",
        "RuntimeError: out of something",
    )
    assert "explode" in (run_folder(settings) / "traceback.txt").read_text()
    assert "out of something" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(settings) == result
    assert run(settings | {"retry": "failed"})["status"] == "finished"


def test_a_failed_run_that_is_retried_keeps_no_traceback(config, monkeypatch):
    settings = config("trainer.max_epochs=1")
    monkeypatch.setattr("normlab.training.train.fit", lambda *arguments: 1 / 0)
    assert run(settings)["reason"] == "ZeroDivisionError: division by zero"
    monkeypatch.undo()
    assert run(settings | {"retry": "failed"})["status"] == "finished"
    assert not (run_folder(settings) / "traceback.txt").exists()


def test_a_damaged_result_is_made_again_without_training(config, monkeypatch, capsys):
    settings = config()
    expected, path = run(settings), run_folder(settings) / "result.json"
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setattr(
        "normlab.training.fit.run_trainer",
        lambda *arguments: pytest.fail("trained again"),
    )
    assert run(settings)["metrics"] == expected["metrics"]
    assert f"warning: {path} is not readable" in capsys.readouterr().err
    assert json.loads(path.read_text())["metrics"] == expected["metrics"]


def test_a_changed_result_is_made_again_without_training(config, monkeypatch, capsys):
    settings = config()
    expected, path = run(settings), run_folder(settings) / "result.json"
    stored = json.loads(path.read_text())
    write_json(path, stored | {"metrics": stored["metrics"] | {"test/accuracy": 0.1}})
    monkeypatch.setattr(
        "normlab.training.fit.run_trainer",
        lambda *arguments: pytest.fail("trained again"),
    )
    assert run(settings)["metrics"] == expected["metrics"]
    warning = capsys.readouterr().err
    assert f"{path} does not match its checksum: it was changed" in warning
    assert "it is made again from the last checkpoint" in warning
    assert read_result(path.parent)["metrics"] == expected["metrics"]


def test_a_result_beside_the_best_checkpoint_of_another_run_is_refused(config):
    settings, others = config("seed=1"), config("seed=2")
    result, path = run(settings), best_checkpoint(run_folder(settings))
    run(others)
    own = path.read_bytes()
    path.write_bytes(best_checkpoint(run_folder(others)).read_bytes())
    with pytest.raises(ValueError, match=r"best\.ckpt is not the checkpoint .* rerun="):
        run(settings)
    path.write_bytes(own)
    assert run(settings) == result
    path.unlink()  # a result does not need it any more
    assert run(settings) == result


def test_events_of_another_run_are_named(config, capsys):
    words = ("logger=[tensorboard]", "trainer.max_epochs=1")
    settings, others = (config(*words, f"seed={seed}") for seed in (1, 2))
    result = run(settings)
    run(others)
    assert run(settings) == result
    assert capsys.readouterr().err == ""
    own, foreign = (
        next(run_folder(each).glob("events.out.*")) for each in (settings, others)
    )
    own.write_bytes(foreign.read_bytes())
    assert run(settings) == result
    evaluate_run(own.parent)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1]
    assert f"warning: {own} was changed after the run ended, or belongs to" in lines[0]


@pytest.fixture
def precious(tmp_path):
    """A folder of the user with files that are called like those of a run."""
    folder = tmp_path / "precious"
    folder.mkdir()
    for name in ("data.csv", "last.ckpt", ".x.tmp", "result.json"):
        (folder / name).write_text("1")
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("csv", []),
        (".", ["rerun=true"]),
        ("checkpoints", ["rerun=true"]),
        ("evaluations", ["rerun=true"]),
    ],
)
def test_training_leaves_files_behind_linked_folders_alone(
    config, precious, name, words
):
    settings = config("trainer.max_epochs=1", *words)
    link = run_folder(settings) / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious)
    with pytest.raises(ValueError, match=f"{link} must not be a link") as mistake:
        run(settings)
    assert len(str(mistake.value).splitlines()) == 1
    names = [".x.tmp", "data.csv", "last.ckpt", "result.json"]
    assert sorted(path.name for path in precious.iterdir()) == names
    assert all(path.read_text() == "1" for path in precious.iterdir())


def test_the_folder_of_a_group_may_be_a_link(config, tmp_path):
    settings = config("trainer.max_epochs=1")
    folder = run_folder(settings)
    disk = tmp_path / "disk"
    disk.mkdir()
    folder.parent.symlink_to(disk)
    first = run(settings)
    again = run(settings | {"rerun": True})
    assert first["metrics"] == again["metrics"]
    assert (disk / folder.name / "result.json").is_file()


def test_of_a_link_in_a_run_folder_the_link_alone_is_cleared(precious, tmp_path):
    folder = tmp_path / "run"
    (folder / "wandb").mkdir(parents=True)
    (folder / "wandb" / "latest-run").symlink_to(precious)
    (folder / ".lock").write_text("")
    clear(folder)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert len(list(precious.iterdir())) == 4


def test_what_a_killed_process_was_writing_is_removed(config):
    settings = config("trainer.max_epochs=1")
    checkpoints = run_folder(settings) / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / ".last.ckpt.12345.tmp").write_bytes(b"half of a checkp")
    run(settings)
    assert {path.name for path in checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_damaged_checkpoint_never_replaces_a_good_one(config, monkeypatch, capsys):
    settings = config("checkpoint.every_n_steps=5", "trainer.max_epochs=3")
    kill_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    checkpoints = run_folder(settings) / "checkpoints"
    (checkpoints / "last.ckpt").write_bytes(b"")
    good = (checkpoints / "previous.ckpt").read_bytes()
    monkeypatch.setattr("normlab.training.checkpoints.save", _no_space)
    with pytest.raises(DiskFull, match="the last checkpoint is intact"):
        run(settings)
    assert (checkpoints / "previous.ckpt").read_bytes() == good
    assert "last.ckpt cannot be read" in capsys.readouterr().err
    monkeypatch.undo()
    assert run(settings)["metrics"] == run(settings | {"rerun": True})["metrics"]


def _no_space(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    "where",
    [
        "normlab.training.experiment.write_result",
        "normlab.training.train.save",
        "normlab.training.experiment.Lock",
    ],
)
def test_a_full_disk_gets_one_line_wherever_it_is_met(config, monkeypatch, where):
    settings = config("trainer.max_epochs=1")
    monkeypatch.setattr(where, _no_space)
    with pytest.raises(DiskFull, match="no space is left on the disk of"):
        run(settings)
    monkeypatch.undo()
    assert run(settings)["status"] == "finished"


@pytest.mark.parametrize("number", [errno.EIO, errno.EROFS, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("name", ["open", "replace", "fsync"])
def test_a_file_system_out_of_order_is_no_result(config, monkeypatch, number, name):
    settings = config("trainer.max_epochs=1")
    checkpoints = run_folder(settings) / "checkpoints"
    owner = builtins if name == "open" else os
    original = getattr(owner, name)

    def fail(first, *arguments, **options):
        if checkpoints.exists() and str(checkpoints.parent) in sys_path(first):
            raise OSError(number, os.strerror(number))
        return original(first, *arguments, **options)

    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(StorageFault, match=re.escape(os.strerror(number))):
        run(settings)
    monkeypatch.undo()
    assert not (run_folder(settings) / "result.json").exists()
    assert run(settings)["status"] == "finished"


def sys_path(file):
    """The path of a file or a file descriptor."""
    return os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else str(file)


@pytest.mark.parametrize("what", ["moved", "removed", "replaced"])
@pytest.mark.parametrize("where", ["on_train_batch_end", "on_train_epoch_end"])
def test_a_run_folder_that_is_lost_while_training(config, monkeypatch, what, where):
    """No second folder comes into being, which would lack the first rows."""
    settings = config("checkpoint.every_n_steps=5", "trainer.max_epochs=2")
    folder = run_folder(settings)
    original = getattr(Checkpoints, where)

    def lose(self, *arguments):
        original(self, *arguments)
        if what == "moved":
            folder.rename(folder.with_name("elsewhere"))
        else:
            shutil.rmtree(folder)
        if what == "replaced":
            folder.touch()

    monkeypatch.setattr(Checkpoints, where, lose)
    with pytest.raises(ValueError, match="must stay in its place") as mistake:
        run(settings)
    assert len(str(mistake.value).splitlines()) == 1
    assert not folder.is_dir()


def test_too_many_open_files_do_not_condemn_a_checkpoint(config, monkeypatch):
    settings = config("checkpoint.every_n_steps=5", "trainer.max_epochs=2")
    kill_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()

    def open_regular(*arguments):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("normlab.training.checkpoint_files.open_regular", open_regular)
    with pytest.raises(StorageFault, match="Too many open files"):
        run(settings)


@pytest.mark.parametrize(
    ("every_n_steps", "after_blocks"), [(5, 1), (5, 3), (5, 4), (5, 6), (6, 3), (6, 9)]
)
@pytest.mark.parametrize("scheduler", ["one_cycle", "plateau"])
def test_interrupted_anywhere_it_ends_in_the_same_bits(
    config, monkeypatch, tmp_path, every_n_steps, after_blocks, scheduler
):
    """An epoch has 18 steps: blocks of 6 end with it."""
    options = (f"scheduler={scheduler}", "model.dropout=0.2", "trainer.max_epochs=3")
    options += (f"checkpoint.every_n_steps={every_n_steps}",)
    if scheduler == "plateau":
        options += ("task.mixup=0.4", "task.cutmix=1", "task.class_weights=balanced")
    else:
        options += (
            "dataset.augment.rand_augment=[2,9]",
            "dataset.augment.color_jitter=[0.4,0.4,0,0]",
            "dataset.augment.erasing=0.5",
        )
    undisturbed = config(*options)
    expected = run(undisturbed)
    settings = config(*options, f"paths.outputs={tmp_path / 'interrupted'}")
    kill_after(monkeypatch, after_blocks)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    assert not (run_folder(settings) / "result.json").exists()
    assert run(settings)["metrics"] == expected["metrics"]
    assert rows(run_folder(settings)) == rows(run_folder(undisturbed))
    for name in ("best.ckpt", "statistics.csv"):
        path = next(run_folder(undisturbed).rglob(name)).relative_to(
            run_folder(undisturbed)
        )
        assert (run_folder(settings) / path).read_bytes() == (
            run_folder(undisturbed) / path
        ).read_bytes()
    states = [
        load(run_folder(which) / "checkpoints" / "last.ckpt")
        for which in (settings, undisturbed)
    ]
    assert all(
        torch.equal(value, states[1]["network"][key])
        for key, value in states[0]["network"].items()
    )
    assert [state["progress"]["steps"] for state in states] == [54, 54]


def test_a_kill_after_patience_ran_out_trains_no_further_epoch(
    config, monkeypatch, tmp_path
):
    options = (
        "trainer.max_epochs=30",
        "trainer.patience=2",
        "optimizer.lr=0.3",
        "checkpoint.every_n_steps=5",
    )
    expected = run(config(*options))
    settings = config(*options, f"paths.outputs={tmp_path / 'interrupted'}")
    original = Checkpoints.on_train_epoch_end

    def kill_at_the_end(self, trainer, task):
        original(self, trainer, task)
        if trainer.should_stop:
            raise Interrupted(signal.SIGKILL)

    monkeypatch.setattr(Checkpoints, "on_train_epoch_end", kill_at_the_end)
    with pytest.raises(Interrupted):
        run(settings)
    monkeypatch.undo()
    assert load(run_folder(settings) / "checkpoints" / "last.ckpt")["ended"]
    result = run(settings)
    assert (result["epochs"], result["metrics"]) == (
        expected["epochs"],
        expected["metrics"],
    )
    assert rows(run_folder(settings)) == rows(run_folder(config(*options)))


def test_a_second_process_waits_for_the_result_of_the_first(config, capsys):
    settings, results = config(), []
    threads = [
        threading.Thread(target=lambda: results.append(run(settings))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0] == results[1]
    assert capsys.readouterr().err.count("another process works in") == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("model=alexnet", "dataset.image_size=32"),
            "model=alexnet needs images of at least 6. pixels",
        ),
        (("dataset.batch_size=1",), "more than one value per channel"),
        (("device=cuda",), "device=cuda needs a cuda device"),
        (("dataset.num_classes=5",), "labels must lie in 0..4"),
        (("dataset.shape=[3,8,8]",), "dataset.shape declares"),
        (("dataset=mnist", "dataset.root=nowhere"), "dataset.root=nowhere must hold"),
        (
            ("dataset=tiny_imagenet", "dataset.root=nowhere"),
            "dataset.root=nowhere must be the unpacked",
        ),
        (
            ("paths.outputs=/proc/nothing",),
            "paths.outputs must be a folder that can be written",
        ),
        (("model.activation=relo",), "relo"),
        (
            ("trainer.monitor=val/acc",),
            "trainer.monitor must be null or one of val/accuracy, val/loss",
        ),
        (("dataset=diabetes", "dataset.fold=5"), r"dataset.fold must lie in 0\.\.4"),
        (("dataset=diabetes", "model=lenet5"), "takes images"),
        (("dataset=diabetes", "dataset.split=stratified"), "use dataset.split=random"),
        (
            ("dataset=diabetes", "dataset.normalize=none", "task.loss=rmse"),
            "must be one of mse, mae, huber",
        ),
        (("task.loss=mse",), "task.loss must be cross_entropy"),
        (
            ("dataset=diabetes", "task.softmax_before_loss=true"),
            "task.softmax_before_loss must be false for regression",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mistakes_are_refused_before_anything_is_written(
    config, tmp_path, monkeypatch, overrides, message
):
    if torch.cuda.is_available() and "device=cuda" in overrides:
        pytest.skip("there is a GPU here")
    monkeypatch.setattr("socket.getaddrinfo", _no_network)
    with pytest.raises(Exception, match=message) as caught:
        run(config(*overrides))
    assert isinstance(caught.value, ValueError) or isinstance(
        caught.value.__cause__, ValueError
    )
    assert list(tmp_path.iterdir()) == []


def _no_network(*arguments, **options):
    raise OSError("no network")


def test_tensorboard_has_the_curves_and_the_right_final_metrics(config):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = config()
    result = run(settings)
    events = EventAccumulator(
        str(run_folder(settings)), size_guidance={"scalars": 0}
    ).Reload()
    for name in ("train/loss", "val/accuracy", "lr"):
        curve = events.Scalars(name)
        assert [event.step for event in curve] == [1, 2]
        assert [event.value for event in curve] == pytest.approx(
            [float(row[name]) for row in rows(run_folder(settings))]
        )
    for name, value in result["metrics"].items():
        (event,) = events.Scalars(f"{TENSORBOARD_GROUP}/{name}")
        assert event.value == pytest.approx(value)
    layer = next(iter(prepare(settings).norm_layers))
    assert {
        f"within {layer}/{key}"
        for key in (
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "activation",
            "gradient",
        )
    } <= set(events.Tags()["histograms"])
    content = events.PluginTagToContent("hparams")
    assert "_hparams_/session_start_info" in content

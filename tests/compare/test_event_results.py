"""Runs in TensorBoard's event files: values, settings, and what is left out."""

import math

import pytest
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_FLOAT
from torch.utils.tensorboard import SummaryWriter

from normlab.compare import event_results, load_results


def write_events(folder, values, tag="acc", hparams=None, hparam_folder=None):
    with SummaryWriter(folder) as writer:
        for step, value in enumerate(values):
            writer.add_scalar(tag, value, step)
        writer.add_scalar("lr", 0.5, 0)
        if hparams:
            writer.add_hparams(hparams, {}, run_name=hparam_folder)


def loaded(folder, **options):
    return load_results(folder, **{"by": "norm", "metric": "acc"} | options)


@pytest.fixture
def folder(tmp_path):
    """Two arms with two seeds, named by their folders."""
    for norm, gain in (("none", 0.0), ("batch", 0.25)):
        for seed in range(2):
            place = tmp_path / "logs" / norm / f"seed_{seed}" / "version_0"
            write_events(place, [0.125, 0.5 + gain, 0.25 + gain])
    return tmp_path / "logs"


def test_the_layout_says_what_folders_mean(folder):
    runs = loaded(folder, layout="{norm}/seed_{seed}")
    assert runs["norm"].tolist() == ["batch", "batch", "none", "none"]
    assert runs["seed"].tolist() == [0, 1, 0, 1]
    assert runs["acc"].tolist() == [0.5, 0.5, 0.25, 0.25]
    assert runs["lr"].tolist() == [0.5] * 4
    assert runs["run"].iloc[0] == "batch/seed_0/version_0"
    assert runs.attrs["kind"] == "TensorBoard folder"
    assert runs.attrs["notes"] == [
        "Of the values of acc, the last acc of every run is compared."
    ]


def test_the_best_value_can_be_taken(folder):
    runs = loaded(folder, layout="{norm}/seed_{seed}", value="best")
    assert runs["acc"].tolist() == [0.75, 0.75, 0.5, 0.5]


def test_pairs_in_names_of_folders_are_settings(tmp_path):
    for seed in range(2):
        write_events(tmp_path / f"norm=batch,seed={seed}", [0.5, math.nan])
    runs = loaded(tmp_path)
    assert runs["seed"].tolist() == [0, 1]
    assert runs["norm"].tolist() == ["batch", "batch"]
    assert runs["status"].tolist() == ["diverged", "diverged"]


def test_hyperparameters_of_events_are_settings(tmp_path):
    for seed in range(2):
        hparams = {"norm": "batch", "seed": seed, "width": 32.0}
        write_events(tmp_path / f"run{seed}", [0.5], hparams=hparams)
    runs = loaded(tmp_path)
    assert runs["run"].tolist() == ["run0", "run1"]
    assert runs[["norm", "seed", "width"]].values.tolist() == [
        ["batch", 0, 32],
        ["batch", 1, 32],
    ]


def test_numbers_are_the_decimals_that_were_logged(tmp_path):
    for seed in range(2):
        with SummaryWriter(tmp_path / f"seed={seed}") as writer:
            writer.add_scalar("acc", 0.9, 0)
            writer.add_scalar("lr", 0.1, 0)
    runs = loaded(tmp_path, by="lr")
    assert runs["lr"].tolist() == [0.1, 0.1]
    assert runs["acc"].tolist() == [0.9, 0.9]


def test_a_setting_and_a_scalar_of_one_name_are_both_kept(tmp_path):
    for seed in range(2):
        hparams = {"norm": "batch", "seed": seed, "lr": 0.125}
        write_events(tmp_path / f"run{seed}", [0.5], hparams=hparams)
    runs = loaded(tmp_path)
    assert runs["lr"].tolist() == [0.125, 0.125]
    assert runs["scalars.lr"].tolist() == [0.5, 0.5]
    roles = {name: role for name, role, _ in runs.attrs["columns"]}
    assert roles["lr"] == "setting, the same in all runs"
    assert roles["scalars.lr"] == "measured, not compared"
    with pytest.raises(ValueError, match=r"no tag 'lr'; did you mean scalars\.lr"):
        loaded(tmp_path, metric="lr")


def test_hyperparameters_of_lightnings_file_are_settings(tmp_path):
    for seed in range(2):
        place = tmp_path / f"version_{seed}"
        write_events(place, [0.5])
        text = f"norm: batch\nseed: {seed}\nnet: {{d: 2}}\n"
        (place / "hparams.yaml").write_text(text)
    runs = loaded(tmp_path)
    assert runs["seed"].tolist() == [0, 1]
    assert runs["net.d"].tolist() == [2, 2]


def test_parts_of_one_run_are_one_run(tmp_path):
    for seed in range(2):
        for part, value in (("train", 0.75), ("validation", 0.5)):
            place = tmp_path / f"norm=batch,seed={seed}" / part
            write_events(place, [value])
    runs = loaded(tmp_path, metric="validation/acc")
    assert runs["validation/acc"].tolist() == [0.5, 0.5]
    assert runs["train/acc"].tolist() == [0.75, 0.75]


def test_a_run_without_the_tag_has_failed_if_its_arm_is_known(tmp_path):
    write_events(tmp_path / "norm=batch,seed=0", [0.5])
    write_events(tmp_path / "norm=batch,seed=1", [0.5], tag="other")
    write_events(tmp_path / "profile", [0.5], tag="other")
    runs = loaded(tmp_path)
    assert runs["status"].tolist() == ["finished", "failed"]
    left_out = [(str(tmp_path / "profile"), "it has no tag acc")]
    assert runs.attrs["unreadable"] == left_out


def test_a_damaged_file_is_left_out_by_name(tmp_path):
    for seed in range(2):
        write_events(tmp_path / f"norm=batch,seed={seed}", [0.5])
    damaged = tmp_path / "norm=batch,seed=1" / "events.out.tfevents.0.x"
    damaged.write_bytes(b"\x05\0\0\0\0\0\0\0 nothing of the kind")
    runs = loaded(tmp_path)
    assert runs["acc"].tolist() == [0.5, 0.5]
    assert all(path == str(damaged) for path, _ in runs.attrs["unreadable"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "acs"}, "no tag 'acs'; did you mean acc"),
        (
            {"layout": "{norm}-{seed}"},
            "layout must fit the folder of every run",
        ),
        ({"layout": "seed"}, "layout must name every field once in braces"),
        ({}, "no column 'norm'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(folder, options, message):
    with pytest.raises(ValueError, match=message):
        loaded(folder, **options)


def test_a_file_of_hyperparameters_that_is_no_plain_data_is_named(tmp_path):
    for seed in range(2):
        write_events(tmp_path / f"norm=batch,seed={seed}", [0.5])
    file = tmp_path / "norm=batch,seed=1" / "hparams.yaml"
    file.write_text("net: !!python/object:os.system {}\n")
    runs = loaded(tmp_path)
    assert runs["seed"].tolist() == [0, 1]
    [(path, reason)] = runs.attrs["unreadable"]
    assert path == str(file)
    assert "not readable" in reason


def test_too_many_scalars_are_refused(folder, monkeypatch):
    monkeypatch.setattr(event_results, "MOST_POINTS", 5)
    with pytest.raises(ValueError, match="must hold at most 5 scalars"):
        loaded(folder, layout="{norm}/seed_{seed}")


def test_runs_of_different_length_are_named(folder):
    write_events(folder / "none" / "seed_2" / "version_0", [0.5])
    notes = loaded(folder, layout="{norm}/seed_{seed}").attrs["notes"]
    assert "their last step is 0 to 2" in notes[-1]


def test_a_value_that_would_fill_the_memory_is_left_out_by_name(tmp_path):
    write_events(tmp_path / "norm=batch,seed=0", [0.5])
    tensor = TensorProto(dtype=DT_FLOAT, float_val=[0.5])
    tensor.tensor_shape.dim.add(size=2**40)
    value = Summary.Value(tag="acc", tensor=tensor)
    value.metadata.plugin_data.plugin_name = "scalars"
    folder = tmp_path / "norm=batch,seed=1"
    with SummaryWriter(folder) as writer:
        writer.add_scalar("lr", 0.5, 0)
        writer._get_file_writer().add_summary(Summary(value=[value]), 0)
    runs = loaded(tmp_path)
    assert runs["status"].tolist() == ["finished", "failed"]
    (file,) = folder.iterdir()
    reason = "it is damaged (acc must have one value per step)"
    assert runs.attrs["unreadable"] == [(str(file), reason)]

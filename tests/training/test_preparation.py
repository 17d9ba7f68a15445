"""Checks of a configuration, and the objects of its run before it trains."""

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.data.blocks import Part, Progress, TrainBlocks
from normlab.data.transforms import Unchanged
from normlab.device.devices import Device
from normlab.metrics import refuse_unknown_stop
from normlab.norms import normalize_weights
from normlab.training.classification import Classification
from normlab.training.preparation import (
    check_environment,
    check_monitor,
    count_steps,
    describe_network,
    prepare,
    weights_digest,
)
from normlab.training.regression import Regression


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        composed = compose(f"paths.outputs={tmp_path}", *overrides)
        return OmegaConf.to_container(composed, resolve=True)

    return make


def initial_weights(prepared):
    names = prepared.norm_layers
    return [
        value
        for key, value in prepared.task.network.named_parameters()
        if key.rpartition(".")[0] not in names
    ]


def test_prepared_runs_cannot_be_changed(config):
    prepared = prepare(config())
    assert prepared.device == Device.from_config(config()["device"])
    assert len(prepared.parts.train) == 1150
    assert prepared.cautions == []
    with pytest.raises(FrozenInstanceError):
        prepared.parts = None


def test_seed_zero_is_a_seed(config):
    weights = [
        initial_weights(prepare(config(f"seed={seed}")))[0] for seed in (0, 0, 1)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_statistics_of_frozen_features_are_computed_again(config):
    words = (
        *("model=efficientnet_lite0", "model.norm_at=[]", "norm=none"),
        *("model.freeze=features", "dataset.image_size=32", "trainer.max_samples=64"),
        *("dataset.batch_size=32", "cache_features=false"),
    )
    pytest.importorskip("timm")
    prepared = prepare(config(*words, "model.statistics=recalibrated"))
    features = prepared.task.network.features
    train = prepared.parts.train
    with torch.no_grad():
        outputs = features.conv_stem(train.evaluation_inputs(train.rows))
    found = features.bn1.running_mean
    torch.testing.assert_close(found, outputs.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert features.bn1.momentum == 0.1
    stored = prepare(config(*words, "model.statistics=stored")).task.network
    assert not stored.features.bn1.running_mean.any()
    assert torch.equal(stored.head.output.weight, prepared.task.network.head[0].weight)


@pytest.mark.parametrize("model", ["mlp", "lenet5", "alexnet"])
def test_arms_start_from_the_same_weights_and_parts(config, model):
    arms = [
        prepare(config(f"model={model}", f"norm={norm}", "model.dropout=0.1"))
        for norm in ("none", "torch", "custom")
    ]
    for arm in arms[1:]:
        pairs = zip(initial_weights(arms[0]), initial_weights(arm), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert torch.equal(arms[0].parts.train.rows, arm.parts.train.rows)


def test_lengths_of_weights_are_parameters_of_the_norm(config):
    plain, lengths = (
        describe_network(prepare(config(f"norm={norm}")))
        for norm in ("none", "weight_norm")
    )
    added = lengths["num_parameters"] - plain["num_parameters"]
    assert added == 128 + 64 + 10  # one per output of mlp on digits
    assert lengths["num_norm_parameters"] == added
    assert lengths["initial_weights"] == plain["initial_weights"]


def test_a_network_is_described_by_its_counts(config):
    described = describe_network(prepare(config("model.hidden=[4]", "norm=layer")))
    assert described["num_norm_layers"] == 1
    assert described["num_norm_parameters"] == 2 * 4
    assert described["num_parameters"] == 64 * 4 + 4 + 2 * 4 + 4 * 10 + 10
    assert described["step_flops"] == 3 * 2 * 64 * (64 * 4 + 4 * 10)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["norm=none"], None),
        (["norm=group"], None),
        (["norm=ghost"], None),
        (["norm=batch_renorm"], False),
        (["norm=custom"], False),
        (["norm=custom", "norm.sync=true"], True),
    ],
)
def test_a_result_tells_whether_norms_are_synchronized(config, words, expected):
    assert describe_network(prepare(config(*words)))["synchronized"] is expected


def test_the_digest_of_weights_leaves_norms_out():
    def digest(*layers, norms=()):
        network = nn.Sequential(*layers)
        return weights_digest(network, {name: network[int(name)] for name in norms})

    linear = nn.Linear(2, 3)
    expected = digest(linear)
    assert len(expected) == 16
    assert digest(linear, nn.BatchNorm1d(3), norms="1") == expected
    assert digest(linear, nn.BatchNorm1d(3)) != expected
    assert digest(nn.Linear(2, 3)) != expected

    weight = linear.weight.detach().clone()
    normalize_weights(network := nn.Sequential(linear))
    torch.testing.assert_close(network[0].weight, weight)
    assert weights_digest(network, {}) == expected


def stepping(processes=1, accumulate=1):
    return {
        "dataset": {"batch_size": 30},
        "trainer": {"accumulate": accumulate},
        "device": {"devices": processes},
    }


def test_an_epoch_has_at_least_one_step():
    assert count_steps(stepping(), 100) == 4
    assert count_steps(stepping(), 91) == 3
    with pytest.raises(
        ValueError,
        match="^the training part must hold a batch of at least two samples, it has 1; "
        "lower dataset.batch_size or dataset.validation$",
    ):
        count_steps(stepping(), 1)


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("num_samples", range(90, 100))
def test_the_steps_of_an_epoch_are_those_that_its_blocks_hold(
    processes, accumulate, num_samples
):
    rows = torch.arange(num_samples)
    part = Part(torch.zeros(num_samples, 2), rows, rows, Unchanged())
    blocks = TrainBlocks(
        part, 30, 0, Progress(), world_size=processes, accumulate=accumulate
    )
    assert count_steps(stepping(processes, accumulate), num_samples) == blocks.num_steps


def test_every_process_needs_two_samples_of_a_batch():
    assert count_steps(stepping(processes=2), 94) == 4
    assert count_steps(stepping(processes=2), 93) == 3
    with pytest.raises(
        ValueError, match="of at least 4 samples, two per process, it has 3; lower "
    ):
        count_steps(stepping(processes=2), 3)


class Named(Classification):
    """A task with a metric of its own."""

    metric_names = ("novelty", "loss")


def task(kind=Classification):
    return kind(nn.Identity(), torch.optim.SGD)


def test_any_recorded_metric_may_be_monitored_and_no_other():
    def check(monitor, kind=Classification, num_outputs=10, mode=None):
        options = {"monitor": monitor, "monitor_mode": mode}
        return check_monitor(options, task(kind), num_outputs)

    assert not check(None)
    assert not check("val/loss")
    assert not check("train/accuracy")
    assert check("val/macro_f1")
    assert check("val/top_5_accuracy")
    assert not check("val/r2", Regression, 1)
    message = (
        "^trainer.monitor must be null or one of val/accuracy, val/loss, "
        "val/macro_precision, val/macro_recall, val/macro_f1, val/micro_f1, val/auroc, "
        "val/brier, val/nll, val/ece, train/accuracy, train/loss, got 'loss'$"
    )
    with pytest.raises(ValueError, match=message):
        check("loss", num_outputs=5)
    with pytest.raises(ValueError, match="val/loss, val/rmse, .*got 'val/auroc'"):
        check("val/auroc", Regression, 1)
    with pytest.raises(ValueError, match="monitor_mode must be min or max, .*novelty"):
        check(None, Named)
    assert not check("val/novelty", Named, mode="max")


def test_a_run_may_stop_at_a_metric_of_its_own_task_whose_direction_is_known():
    def check(metric):
        refuse_unknown_stop({"stop_at": f"{metric}=0.5"}, Named.metric_names)

    check("val/loss")
    with pytest.raises(ValueError, match="which direction is better, .*'val/novelty'"):
        check("val/novelty")
    with pytest.raises(ValueError, match="val/novelty, val/loss, .*'val/accuracy'"):
        check("val/accuracy")


def test_targets_outside_of_trusted_packages_are_refused(config):
    settings = config()
    assert check_environment(settings) == Device.from_config(settings["device"])
    settings["model"] = settings["model"] | {"_target_": "normlab.results.os.system"}
    with pytest.raises(ValueError, match="not in a trusted package"):
        check_environment(settings)


def test_what_trains_on_images_does_not_import_pandas():
    """It takes longer to import than all of normlab, and only tables need it."""
    code = (
        "import sys, normlab.training.preparation, normlab.training.train\n"
        "print('pandas' in sys.modules, 'sklearn' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False False\n"

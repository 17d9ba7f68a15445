"""What is said before a run that would be an unfair arm, and an arm called none that is refused."""

import json
import re

import pytest
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.models import Swap
from normlab.norms import (
    BatchNorm,
    BatchRenorm,
    EvoNormB0,
    EvoNormS0,
    FrozenBatchNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    normalize_weights,
)
from normlab.sweeps.display import print_summary
from normlab.sweeps.jobs import Job
from normlab.training.cautions import cautions, refuse_hidden_norms
from normlab.training.experiment import run
from normlab.training.fit import train
from normlab.training.preparation import prepare

PLAIN = {
    "samples": 1000,
    "batch_size": 8,
    "devices": 1,
    "precision": "32-true",
    "weight_decay": 0.0,
    "every": False,
}
PLAIN |= {"idle": (), "reparametrize": None}


def told(*layers, **changes):
    values = PLAIN | changes
    config = {
        "dataset": {"batch_size": values["batch_size"]},
        "device": {"devices": values["devices"], "precision": values["precision"]},
        "optimizer": {
            "weight_decay": values["weight_decay"],
            "decay_rank_one": values["every"],
        },
        "choices": {"norm": "weight_norm"},
        "reparametrize": values["reparametrize"],
    }
    network = nn.Sequential(*layers)
    return cautions(
        config,
        network,
        dict(network.named_children()),
        values["samples"],
        values["idle"],
    )


def frozen(mean):
    layer = FrozenBatchNorm(4, 1)
    layer.running_mean.fill_(mean)
    return layer


def test_a_plain_run_is_told_nothing():
    assert (
        told(
            BatchNorm(4, 1),
            nn.BatchNorm1d(4),
            GroupNorm(4, 1, num_groups=2),
            frozen(1.0),
        )
        == []
    )


def test_groups_that_are_not_those_asked_for_are_told():
    layers = [
        GroupNorm(6, 2, 32),
        EvoNormS0(6, 2, 32),
        GroupNorm(120, 1, 32),
        GroupNorm(64, 2, 32),
        LayerNorm(6, 2),
    ]
    assert told(*layers) == [
        "norm.num_groups=32 does not divide the channels of every layer: there are 2 groups for 6 channels, 8 groups "
        "for 120 channels; norm.largest_divisor=false refuses it"
    ]


def test_norms_that_do_nothing_are_told():
    layers = [nn.Identity(), *(InstanceNorm(4, 1) for _ in range(6))]
    assert told(*layers, idle=["1", "2"]) == [
        "2 of 6 norm layers get vectors and pass them on as they came: 1, 2; norm.vectors=error refuses it"
    ]
    assert "1, 2, 3, 4 and 1 more" in told(*layers, idle=list("12345"))[0]
    assert (
        "this run trains as one without norm" in told(*layers, idle=list("123456"))[0]
    )
    assert told(frozen(0.0), frozen(1.0)) == []
    (sentence,) = told(frozen(0.0), frozen(0.0))
    assert sentence.startswith(
        "frozen batch norm got no scale, shift or statistics from elsewhere"
    )


def test_weights_that_a_norm_on_weights_leaves_alone_are_told():
    layers = [nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)]
    assert told(*layers) == []
    normalize_weights(network := nn.Sequential(*layers))
    assert told(*network, reparametrize={}) == [
        "norm=weight_norm cannot act on some weights and leaves them as they are: 0.weight"
    ]
    assert told(*network[1:], reparametrize={}) == []


@pytest.mark.parametrize(
    ("words", "sentences"),
    [
        (["model=mlp", "norm=instance"], ["every norm layer gets vectors"]),
        (["model=mlp", "norm=local_response"], ["every norm layer gets vectors"]),
        (
            ["model=recurrent", "norm=instance", "model.hidden=4"],
            ["every norm layer gets vectors"],
        ),
        (
            ["model=lenet5", "norm=instance"],
            ["2 of 4 norm layers get vectors and pass them on as they came: "],
        ),
        (["model=vit", "norm=instance"], []),
        (
            ["model=lenet5", "norm=group", "norm.num_groups=32"],
            ["norm.num_groups=32 does not divide the channels"],
        ),
        (["model=mlp", "norm=frozen"], ["frozen batch norm got no"]),
        (["model=recurrent", "norm=weight_norm"], []),
        (["model=mlp", "norm=custom"], []),
    ],
    ids=" ".join,
)
def test_what_a_prepared_run_is_told_of_its_norm(compose, words, sentences):
    found = prepare(OmegaConf.to_container(compose(*words), resolve=True)).cautions
    assert [
        text[: len(start)] for text, start in zip(found, sentences, strict=True)
    ] == sentences


@pytest.mark.parametrize(
    ("samples", "devices", "sentence"),
    [
        (
            1001,
            1,
            "1001 training samples in batches of 8 leave 1 sample over, .* every epoch leaves it out",
        ),
        (
            1003,
            2,
            "1003 training samples in batches of 8 leave 3 samples over, .* every epoch leaves them out",
        ),
        (1002, 1, None),
        (1004, 2, None),
    ],
)
def test_samples_too_few_to_normalize_are_told_for_every_norm(
    samples, devices, sentence
):
    for layer in (nn.Identity(), GroupNorm(4, 1, 2)):
        found = told(layer, samples=samples, devices=devices)
        assert [bool(re.match(sentence or "", text)) for text in found] == (
            [True] if sentence else []
        )


def test_decay_of_scale_and_shift_is_told_where_a_norm_has_them():
    decay = {"weight_decay": 0.1, "every": True}
    assert "shrink the scale and shift" in told(BatchNorm(4, 1), **decay)[0]
    for layer, changes in [
        (nn.Identity(), decay),
        (BatchNorm(4, 1, affine=False), decay),
        (BatchNorm(4, 1), decay | {"every": False}),
        (BatchNorm(4, 1), decay | {"weight_decay": 0.0}),
    ]:
        assert told(layer, **changes) == []


@pytest.mark.parametrize(
    "layer", [BatchNorm(4, 1), nn.BatchNorm1d(4), BatchRenorm(4, 1), EvoNormB0(4, 1)]
)
def test_statistics_of_a_share_of_the_batch_are_told(layer):
    (sentence,) = told(layer, devices=2)
    assert sentence.startswith(
        "each of 2 processes normalizes its own share of a batch"
    )
    assert "norm.sync=true" in sentence
    assert told(layer) == []


@pytest.mark.parametrize(
    "layer",
    [
        BatchNorm(4, 1, sync=True),
        nn.SyncBatchNorm(4),
        GroupNorm(4, 1, 2),
        frozen(2.0),
        GhostBatchNorm(4, 1),
    ],
)
def test_norms_that_do_not_see_the_share_are_told_nothing(layer):
    assert told(layer, devices=2) == []


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_running_statistics_in_16_bits_are_told(precision):
    assert (
        f"device.precision={precision} keeps running statistics in 16 bits"
        in told(nn.BatchNorm1d(4), precision=precision)[0]
    )
    assert told(GroupNorm(4, 1, 2), precision=precision) == []
    assert told(nn.BatchNorm1d(4), precision="bf16-mixed") == []


def test_an_arm_called_none_must_contain_no_norm():
    network = nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Sequential(GroupNorm(4, 1, 2))
    )
    refuse_hidden_norms("custom", network)
    refuse_hidden_norms("none", network[:1])
    with pytest.raises(
        ValueError,
        match="norm=none must leave no norm in the network, it has BatchNorm1d at 1 and 1",
    ):
        refuse_hidden_norms("none", network)


class NormOnTheLastAxis(nn.Sequential):
    """As models of one's own may have: it is called a norm and does what it holds."""


def test_a_layer_around_a_norm_is_judged_by_what_it_holds():
    refuse_hidden_norms("none", nn.Sequential(NormOnTheLastAxis(nn.Identity())))
    with pytest.raises(ValueError, match="it has BatchNorm1d at 0.0;"):
        refuse_hidden_norms("none", nn.Sequential(NormOnTheLastAxis(nn.BatchNorm1d(4))))


@pytest.mark.filterwarnings("ignore:.*treespec.*")
def test_a_run_says_it_once_before_training_and_stores_it(compose, tmp_path, capsys):
    words = (
        "trainer.max_epochs=1",
        f"paths.outputs={tmp_path}",
        "optimizer.decay_rank_one=true",
    )
    settings = OmegaConf.to_container(
        compose(*words, "optimizer.weight_decay=0.1"), resolve=True
    )
    result = run(settings)
    error = capsys.readouterr().err
    assert error.index("caution") < error.index("epoch 1/1")
    assert error.count("shrink the scale and shift") == 1
    assert len(result["cautions"]) == 1
    assert (
        json.loads((run_folder(settings) / "result.json").read_text())["cautions"]
        == result["cautions"]
    )
    run(settings)
    run(settings | {"rerun": True, "progress": False})
    assert "caution" not in capsys.readouterr().err


class Began(Exception):
    """Training would begin here."""


def test_what_became_of_a_librarys_norms_is_shown_before_training(
    compose, tmp_path, capsys, monkeypatch
):
    def fit(*arguments):
        raise Began

    monkeypatch.setattr("normlab.training.fit.fit", fit)
    words = (
        "model=torchvision",
        "model.name=squeezenet1_1",
        f"paths.outputs={tmp_path}",
    )
    settings = OmegaConf.to_container(compose(*words), resolve=True)
    prepared = prepare(settings)
    for progress, tables in ((True, 1), (False, 0)):
        with pytest.raises(Began):
            train(settings | {"progress": progress}, prepared, tmp_path)
        error = capsys.readouterr().err
        assert error.count("features.0") == tables
        assert ("inserted" in error) == progress


@pytest.mark.filterwarnings("ignore:.*treespec.*")
def test_what_became_of_a_librarys_norms_is_stored_also_without_progress(
    compose, tmp_path
):
    words = ("trainer.max_epochs=1", "progress=false", f"paths.outputs={tmp_path}")
    settings = OmegaConf.to_container(compose(*words), resolve=True)
    assert run(settings)["norm_report"] == []  # of a model that takes its norms itself
    prepared = prepare(settings)
    prepared.task.network.norm_report = [
        Swap("bn1", "replaced", "BatchNorm2d", "GroupNorm", "copied weight, bias")
    ]
    assert train(settings, prepared, tmp_path)["norm_report"] == [
        {
            "name": "bn1",
            "kind": "replaced",
            "old": "BatchNorm2d",
            "new": "GroupNorm",
            "why": "copied weight, bias",
        }
    ]


def test_a_sweep_says_it_once_for_all_jobs(capsys):
    result = {
        "status": "finished",
        "reason": None,
        "metrics": {"test/accuracy": 0.5},
        "seconds": 1.0,
    }
    jobs = [
        Job((f"seed={seed}",), result | {"cautions": ["no, [not] this"]})
        for seed in range(3)
    ]
    print_summary([*jobs, Job(("seed=3",), result)])
    assert capsys.readouterr().out.count("caution  no, [not] this") == 1

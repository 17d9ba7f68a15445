"""Cautions about unfair arms, and the refusal of norms in an arm called none."""

import json
import re

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.device.devices import Device
from normlab.norms import (
    BatchNorm,
    BatchRenorm,
    EvoNormB0,
    EvoNormS0,
    FrozenBatchNorm,
    GhostBatchNorm,
    GroupNorm,
    InstanceNorm,
    IterativeWhitening,
    LayerNorm,
    normalize_weights,
)
from normlab.sweeps.display import print_summary
from normlab.sweeps.jobs import EndedJob
from normlab.training.cautions import cautions, refuse_hidden_norms
from normlab.training.experiment import run
from normlab.training.preparation import prepare

CPU = {
    "accelerator": "cpu",
    "strategy": "auto",
    "threads": 1,
    "compile": False,
    "channels_last": False,
    "deterministic": False,
}


def cautions_of(
    *layers,
    samples=1000,
    batch_size=8,
    devices=1,
    precision="32-true",
    weight_decay=0.0,
    decay_rank_one=False,
    idle=(),
    reparametrize=None,
    **trainer,
):
    config = {
        "trainer": {"max_epochs": 10, **trainer},
        "dataset": {"batch_size": batch_size},
        "optimizer": {"weight_decay": weight_decay, "decay_rank_one": decay_rank_one},
        "choices": {"norm": "weight_norm"},
        "reparametrize": reparametrize,
    }
    device = Device(**CPU, devices=devices, precision=precision)
    network = nn.Sequential(*layers)
    layers = dict(network.named_children())
    return cautions(config, device, network, layers, samples, idle)


def frozen(mean):
    layer = FrozenBatchNorm(4, 1)
    layer.running_mean.fill_(mean)
    return layer


def test_a_plain_run_has_no_cautions():
    assert (
        cautions_of(
            BatchNorm(4, 1),
            nn.BatchNorm1d(4),
            GroupNorm(4, 1, num_groups=2),
            frozen(1.0),
        )
        == []
    )


def test_groups_that_differ_from_the_setting_are_named():
    layers = [
        GroupNorm(6, 2, 32),
        EvoNormS0(6, 2, 32),
        GroupNorm(120, 1, 32),
        GroupNorm(64, 2, 32),
        LayerNorm(6, 2),
    ]
    assert cautions_of(*layers) == [
        "norm.num_groups=32 does not divide the channels of every layer: there are "
        "2 groups for 6 channels, 8 groups for 120 channels; "
        "norm.largest_divisor=false refuses it"
    ]


def test_norms_that_do_nothing_are_named():
    layers = [nn.Identity(), *(InstanceNorm(4, 1) for _ in range(6))]
    assert cautions_of(*layers, idle=["1", "2"]) == [
        "2 of 6 norm layers get vectors and return them unchanged: 1, 2; "
        "norm.vectors=error refuses it"
    ]
    assert "1, 2, 3, 4 and 1 more" in cautions_of(*layers, idle=list("12345"))[0]
    assert (
        "this run trains like one without norm"
        in cautions_of(*layers, idle=list("123456"))[0]
    )
    assert cautions_of(frozen(0.0), frozen(1.0)) == []
    (sentence,) = cautions_of(frozen(0.0), frozen(0.0))
    assert sentence.startswith(
        "frozen batch norm got no pretrained scale, shift or statistics"
    )


def test_weights_that_stay_as_they_are_are_named():
    layers = [nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)]
    assert cautions_of(*layers) == []
    normalize_weights(network := nn.Sequential(*layers))
    assert cautions_of(*network, reparametrize={}) == [
        "norm=weight_norm cannot act on some weights and leaves them as they are: "
        "0.weight"
    ]
    assert cautions_of(*network[1:], reparametrize={}) == []


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
            ["2 of 4 norm layers get vectors and return them unchanged: "],
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
def test_a_prepared_run_has_the_cautions_of_its_norm(compose, words, sentences):
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
            "1001 training samples in batches of 8 leave 1 sample over, .* "
            "every epoch leaves it out",
        ),
        (
            1003,
            2,
            "1003 training samples in batches of 8 leave 3 samples over, .* "
            "every epoch leaves them out",
        ),
        (1002, 1, None),
        (1004, 2, None),
    ],
)
def test_left_out_samples_are_counted_for_every_norm(samples, devices, sentence):
    for layer in (nn.Identity(), GroupNorm(4, 1, 2)):
        found = cautions_of(layer, samples=samples, devices=devices)
        assert [bool(re.match(sentence or "", text)) for text in found] == (
            [True] if sentence else []
        )


def test_steps_that_are_not_reached_are_named():
    """An epoch of 1000 samples has 125 batches of 8, in 32 steps of 4 batches."""
    assert cautions_of(max_steps=1250) == []
    assert cautions_of(max_steps=1251) == [
        "trainer.max_epochs=10 ends this run after 1250 steps, before "
        "trainer.max_steps=1251"
    ]
    (sentence,) = cautions_of(max_steps=321, accumulate=4)
    assert "after 320 steps" in sentence
    assert cautions_of(max_steps=320, accumulate=4) == []


def test_decay_of_scale_and_shift_is_named():
    decay = {"weight_decay": 0.1, "decay_rank_one": True}
    assert "shrink the scale and shift" in cautions_of(BatchNorm(4, 1), **decay)[0]
    column = BatchNorm(4, 1, bias=False)
    column.weight = nn.Parameter(torch.ones(1, 4))
    assert "shrink the scale and shift" in cautions_of(column, **decay)[0]
    for layer, changes in [
        (nn.Identity(), decay),
        (BatchNorm(4, 1, affine=False), decay),
        (BatchNorm(4, 1), decay | {"decay_rank_one": False}),
        (BatchNorm(4, 1), decay | {"weight_decay": 0.0}),
    ]:
        assert cautions_of(layer, **changes) == []


@pytest.mark.parametrize(
    "layer", [BatchNorm(4, 1), nn.BatchNorm1d(4), BatchRenorm(4, 1), EvoNormB0(4, 1)]
)
def test_statistics_of_a_share_of_the_batch_are_named(layer):
    (sentence,) = cautions_of(layer, devices=2)
    assert sentence.startswith(
        "each of 2 processes normalizes its own share of a batch"
    )
    assert "norm.sync=true" in sentence
    assert cautions_of(layer) == []


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
def test_norms_that_do_not_see_the_share_are_not_named(layer):
    assert cautions_of(layer, devices=2) == []


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_running_statistics_in_16_bits_are_named(precision):
    assert (
        f"device.precision={precision} keeps running statistics in 16 bits"
        in cautions_of(nn.BatchNorm1d(4), precision=precision)[0]
    )
    assert cautions_of(IterativeWhitening(4, 1), precision=precision)
    assert cautions_of(GroupNorm(4, 1, 2), precision=precision) == []
    assert cautions_of(nn.BatchNorm1d(4), precision="bf16-mixed") == []


def test_an_arm_called_none_must_contain_no_norm():
    network = nn.Sequential(
        nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Sequential(GroupNorm(4, 1, 2))
    )
    refuse_hidden_norms("custom", network)
    refuse_hidden_norms("none", network[:1])
    with pytest.raises(
        ValueError,
        match="norm=none must leave no norm in the network, it has BatchNorm1d at 1 "
        "and 1",
    ):
        refuse_hidden_norms("none", network)


class NormOnTheLastAxis(nn.Sequential):
    """As models of one's own may have: it is called a norm and does what it holds."""


def test_a_container_of_norms_counts_by_its_members():
    refuse_hidden_norms("none", nn.Sequential(NormOnTheLastAxis(nn.Identity())))
    with pytest.raises(ValueError, match="it has BatchNorm1d at 0.0;"):
        refuse_hidden_norms("none", nn.Sequential(NormOnTheLastAxis(nn.BatchNorm1d(4))))


@pytest.mark.filterwarnings("ignore:.*treespec.*")
def test_a_run_shows_its_cautions_once_and_stores_them(compose, tmp_path, capsys):
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


def test_a_sweep_shows_a_caution_once_for_all_jobs(capsys):
    result = {
        "status": "finished",
        "reason": None,
        "metrics": {"test/accuracy": 0.5},
        "seconds": 1.0,
    }
    jobs = [
        EndedJob((f"seed={seed}",), result | {"cautions": ["no, [not] this"]})
        for seed in range(3)
    ]
    print_summary([*jobs, EndedJob(("seed=3",), result)])
    assert capsys.readouterr().out.count("caution  no, [not] this") == 1


def test_norms_that_all_arms_share_are_not_hidden():
    network = nn.Module()
    network.features = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    with pytest.raises(ValueError, match=r"BatchNorm1d at features\.1"):
        refuse_hidden_norms("none", network)
    network.kept_norms = "features"
    refuse_hidden_norms("none", network)
    network.head = nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match="BatchNorm1d at head"):
        refuse_hidden_norms("none", network)

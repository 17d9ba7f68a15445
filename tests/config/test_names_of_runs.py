"""Folder names and digests of ten configurations, spelled out.

Stored runs are found by these names, so no change of the code may change one.
"""

import pytest
from omegaconf import OmegaConf

from normlab.config.identity import digest, run_name

CONFIGURATIONS = [
    (
        [],
        "digits-mlp/custom-sgd-lr0.1-seed0-836ccf1548",
        "836ccf154867523b0d6bcf821b47118b7615d51f32ae04936155557489c09dd6",
    ),
    (
        ["model=alexnet", "norm=torch", "dataset=digits", "seed=3"],
        "digits-alexnet/torch-sgd-lr0.1-seed3-f284e09c23",
        "f284e09c239d354899328546d006dbd841326816e9ec7ec2cecf8af66d563f32",
    ),
    (
        [
            "dataset=mnist",
            "dataset.root=data",
            "model=lenet5",
            "norm=none",
            "optimizer=adam",
            "scheduler=cosine",
        ],
        "mnist-lenet5/none-adam-lr0.001-seed0-ae6908f0c3",
        "ae6908f0c3ea07f9c092ad9263cf6e39e0e9b5c9871250b357ceafd36ec86408",
    ),
    (
        ["model=timm", "model.name=resnetv2_18", "norm=group", "device=cpu"],
        "digits-timm/group-sgd-lr0.1-seed0-def032a739",
        "def032a73993dec6289f3b56e3b7ea999f5c2c08e8a27e64eff4f586cd5d3502",
    ),
    (
        [
            "dataset=csv",
            "dataset.root=table.csv",
            "dataset.target=price",
            "dataset.task=regression",
            "model=tabular",
        ],
        "csv-tabular/custom-sgd-lr0.1-seed0-5dee5401c1",
        "5dee5401c1fef137fd44c375c8cee5c6af3571b7a94bbd4d020955260622fe71",
    ),
    (
        [
            "norm=noisy_batch",
            "optimizer=adamw",
            "optimizer.lr=0.001",
            "trainer.max_epochs=3",
        ],
        "digits-mlp/noisy_batch-adamw-lr0.001-seed0-a75b03737e",
        "a75b03737ec4daf4ce4db16deaa2f4ea8f96f29f092326be615b41eb163e4801",
    ),
    (
        ["norm=weight_standardization", "model=resnet", "scheduler=one_cycle"],
        "digits-resnet/weight_standardization-sgd-lr0.1-seed0-3d1d4c9dd4",
        "3d1d4c9dd400e7d36995c084c66bd7ecfddbde371fae7c3990b52d3c0d842622",
    ),
    (
        ["experiment=mlp_mnist", "norm=layer", "seed=7", "dataset.root=data"],
        "mlp_mnist/layer-adam-lr0.001-seed7-587be49a11",
        "587be49a11ea9c14ec05abfa0569aa13f5de779e597a2d14ff83517b8a501d41",
    ),
    (
        ["study=small_batches", "dataset.batch_size=2", "dataset.root=data"],
        "small_batches/ghost-sgd-lr0.1-seed0-9d7d295e3d",
        "9d7d295e3dbc7ed11c614618f12ea005ba07e698d332ba955c9c4e53879a0659",
    ),
    (
        [
            "experiment=tabular_kfold",
            "norm=custom",
            "dataset.fold=1",
            "dataset.root=data",
        ],
        "tabular_kfold/custom-adam-lr0.01-seed0-a5a39e2251",
        "a5a39e2251c78974018433bfdb62e53e9f3ef2afb1cfe5a83551eb9b0c2a4fe4",
    ),
]


@pytest.mark.parametrize(("overrides", "name", "expected_digest"), CONFIGURATIONS)
def test_a_configuration_keeps_its_name(compose, overrides, name, expected_digest):
    config = OmegaConf.to_container(compose(*overrides), resolve=True)
    assert run_name(config) == name
    assert digest(config) == expected_digest

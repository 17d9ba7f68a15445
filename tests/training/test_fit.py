"""The loop: the same batches and losses as plain PyTorch, whatever the switches of the device."""

import csv
import shutil
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.images import digits
from normlab.data.parts import load_parts
from normlab.streams import torch_generator
from normlab.training.experiment import run
from normlab.training.fit import train
from normlab.training.preparation import describe_network, prepare

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*treespec.*"
)  # Lightning's, about its own logging


@pytest.fixture
def config(compose, tmp_path):
    def make(*overrides):
        words = (
            "trainer.max_epochs=2",
            "progress=false",
            f"paths.outputs={tmp_path}",
            *overrides,
        )
        return OmegaConf.to_container(compose(*words), resolve=True)

    return make


def recorded(settings, column):
    with open(run_folder(settings) / "metrics.csv") as file:
        return [float(row[column]) for row in csv.DictReader(file)]


def plain_loop(settings, make_optimizer, make_scheduler=None):
    """Mean training losses by epoch and the network, one gather, transform and step a batch."""
    prepared = prepare(settings)
    network, part = prepared.task.network.train(), prepared.parts.train
    targets, loss_function, clip = (
        part.targets,
        nn.functional.cross_entropy,
        settings["trainer"]["gradient_clip"],
    )
    if (
        settings["dataset"]["task"] == "regression"
    ):  # standardized by the training part alone
        own = targets[part.rows]
        targets, loss_function = (
            ((targets - own.mean()) / own.std(correction=0))[:, None],
            nn.functional.mse_loss,
        )
    optimizer = make_optimizer(network.parameters())
    scheduler = make_scheduler and make_scheduler(optimizer)
    losses = []
    for epoch in range(settings["trainer"]["max_epochs"]):
        order = torch.randperm(
            len(part), generator=torch_generator(settings["seed"], "order", epoch)
        )
        draws = part.transform.draw(
            len(part), torch_generator(settings["seed"], "augmentation", epoch)
        )
        total = 0.0
        for chosen in order.split(settings["dataset"]["batch_size"]):
            rows = part.rows[chosen]
            inputs = part.transform.train(
                part.inputs[rows], {key: draw[chosen] for key, draw in draws.items()}
            )
            loss = loss_function(network(inputs), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            if scheduler:
                scheduler.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(part))
    return losses, network


def sgd(
    parameters,
):  # fused as in a run: the other one rounds otherwise, which 36 steps can make a thousand times larger
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, fused=True)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.01, fused=True)


def one_cycle(optimizer):
    """Over both epochs of 1,437 digits without a fifth, in batches of 64."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, epochs=2, steps_per_epoch=18, cycle_momentum=False
    )


AUGMENTED = (
    "model=lenet5",
    "dataset.image_size=28",
    "dataset.augment.flip=true",
    "dataset.augment.crop_padding=2",
)
CLIPPED = ("trainer.gradient_clip=0.5", "scheduler=one_cycle", "scheduler.max_lr=0.2")
# A bias before a norm has no gradient but rounding errors, which Adam makes as large as any other.
TABLE = (
    "dataset=diabetes",
    "model=tabular",
    "model.bias=false",
    "optimizer=adam",
    "optimizer.lr=0.01",
)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [((), (sgd,)), (AUGMENTED, (sgd,)), (CLIPPED, (sgd, one_cycle)), (TABLE, (adam,))],
    ids=["plain", "augmented", "clipped one_cycle", "table adam"],
)
def test_a_run_is_the_plain_loop_over_the_same_batches(config, overrides, parts):
    """Everything on that is on by default, and blocks of steps: equal to rounding."""
    settings = config("norm=torch", *overrides)
    losses, network = plain_loop(settings, *parts)
    run(settings)
    assert recorded(settings, "train/loss") == pytest.approx(losses, rel=1e-4)
    trained = torch.load(
        run_folder(settings) / "checkpoints" / "last.ckpt", weights_only=True
    )["network"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-3, atol=1e-4)


def test_channels_last_is_another_order_in_memory_and_nothing_else(config):
    words = ("model=lenet5", "optimizer.lr=0.01")
    settings = {
        value: config(*words, f"device.channels_last={value}")
        for value in ("true", "false")
    }
    weight = prepare(settings["true"]).task.network.features[0][0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not load_parts(settings["false"], 28).train.channels_last
    results = {value: run(each) for value, each in settings.items()}
    losses = [recorded(each, "train/loss") for each in settings.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert results["true"]["initial_weights"] == results["false"]["initial_weights"]
    assert results["true"]["run"] != results["false"]["run"]


def coloured_digits():
    """Three channels: with one, both orders of memory are the same."""
    data = digits()
    train_inputs, test_inputs = (
        each.repeat(1, 3, 1, 1) for each in (data.train_inputs, data.test_inputs)
    )
    return replace(data, train_inputs=train_inputs, test_inputs=test_inputs)


@pytest.mark.parametrize("value", [True, False])
def test_the_network_sees_images_in_the_order_of_its_weights(config, value):
    """In training and in scoring."""
    data = (
        "dataset.shape=[3,8,8]",
        "dataset.load._target_=test_training.coloured_digits",
    )
    settings = config(
        "model=lenet5", f"device.channels_last={value}", "trainer.max_epochs=1", *data
    )
    settings["trusted_packages"] = ["test_training"]
    prepared, seen = prepare(settings), set()
    prepared.task.network.register_forward_pre_hook(
        lambda network, inputs: seen.add(
            (
                network.training,
                inputs[0].is_contiguous(memory_format=torch.channels_last),
            )
        )
    )
    run_folder(settings).mkdir(parents=True)
    train(settings, prepared, run_folder(settings))
    assert seen == {(True, value), (False, value)}


@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs"
)
def test_compiled_it_trains_as_it_does_eagerly(config):
    options = ("model.hidden=[8]", "trainer.max_epochs=1")
    eager, compiled = config(*options), config(*options, "device.compile=true")
    run(eager)
    run(compiled)
    assert recorded(compiled, "train/loss") == pytest.approx(
        recorded(eager, "train/loss"), rel=1e-3
    )


class InTheSameMemory(torch.autograd.Function):
    """As a CUDA graph does it: every replay writes its outputs where those of the one before are."""

    @staticmethod
    def forward(context, made, memory):
        memory.data.copy_(made)
        return memory.detach()

    @staticmethod
    def backward(context, gradient):
        return gradient, None


def replayed(network, mode):
    forward, memory = network.forward, {}

    def replay(inputs):
        made = forward(inputs)
        return InTheSameMemory.apply(
            made, memory.setdefault(made.shape, torch.empty_like(made))
        )

    network.forward = replay


def test_scores_of_a_block_are_those_of_each_step_though_a_graph_reuses_its_outputs(
    config, monkeypatch
):
    monkeypatch.setattr(nn.Module, "compile", replayed)
    options = ("model.hidden=[8]", "trainer.max_epochs=1")
    eager, graph = config(*options), config(*options, "device.compile=reduce-overhead")
    run(eager)
    run(graph)
    assert recorded(graph, "train/accuracy") == recorded(eager, "train/accuracy")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_cuda_graphs_train_as_eager_steps_do(config):
    options = ("device=cuda", "model.hidden=[8]", "trainer.max_epochs=2")
    eager, graph = config(*options), config(*options, "device.compile=reduce-overhead")
    run(eager)
    assert run(graph)["status"] == "finished"
    for column in ("train/loss", "train/accuracy"):
        assert recorded(graph, column) == pytest.approx(
            recorded(eager, column), rel=1e-2
        )


def test_bf16_keeps_weights_and_records_in_32_bits(config):
    settings = config("device.precision=bf16-mixed")
    result = run(settings)
    assert result["metrics"]["test/accuracy"] > 0.9
    assert recorded(settings, "train/loss") != recorded(
        _at_32_bits(config), "train/loss"
    )
    trained = torch.load(
        run_folder(settings) / "checkpoints" / "last.ckpt", weights_only=True
    )["network"]
    assert {value.dtype for value in trained.values()} == {torch.float32, torch.int64}


def _at_32_bits(config):
    settings = config()
    run(settings)
    return settings


def test_lengths_of_weights_are_parameters_of_the_norm(config):
    plain, lengths = (
        describe_network(prepare(config(f"norm={norm}")))
        for norm in ("none", "weight_norm")
    )
    added = lengths["num_parameters"] - plain["num_parameters"]
    assert added == 128 + 64 + 10  # an output each of mlp on digits
    assert lengths["num_norm_parameters"] == added
    assert lengths["initial_weights"] == plain["initial_weights"]


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
def test_a_result_tells_whether_the_batch_of_all_processes_is_normalized(
    config, words, expected
):
    assert describe_network(prepare(config(*words)))["synchronized"] is expected

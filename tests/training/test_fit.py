"""Training: the batches and losses of plain PyTorch, with every setting of `device`."""

import csv
import math
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from timm.utils import agc
from torch import nn

from normlab.config.identity import run_folder
from normlab.data.parts import load_parts
from normlab.streams import torch_generator
from normlab.training.checkpoint_files import load, save
from normlab.training.experiment import run
from normlab.training.preparation import prepare

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
    """Mean training losses by epoch, and the network; one batch at a time."""
    prepared = prepare(settings)
    network, part = prepared.task.network.train(), prepared.parts.train
    targets = part.targets
    loss_function = nn.functional.cross_entropy
    clip = settings["trainer"]["gradient_clip"]
    adaptive_clip = settings["trainer"]["adaptive_clip"]
    if settings["dataset"]["task"] == "regression":
        own = targets[part.rows]  # standardized by the training part alone
        targets = ((targets - own.mean()) / own.std(correction=0))[:, None]
        loss_function = nn.functional.mse_loss
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
            if adaptive_clip:
                *hidden, _, _ = network.parameters()  # without the output layer
                agc.adaptive_clip_grad(hidden, adaptive_clip)
            if clip:
                nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            if scheduler:
                scheduler.step()
            total += loss.item() * len(chosen)
        losses.append(total / len(part))
    return losses, network


def sgd(parameters):
    # Fused, as in a run: other kernels round differently, and 36 steps can make the
    # difference a thousand times larger.
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
ADAPTIVE = ("trainer.adaptive_clip=0.01",)
# The gradient of a bias before a norm is rounding errors alone, which Adam scales up.
TABLE = (
    "dataset=diabetes",
    "model=tabular",
    "model.bias=false",
    "optimizer=adam",
    "optimizer.lr=0.01",
)


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ((), (sgd,)),
        (AUGMENTED, (sgd,)),
        (CLIPPED, (sgd, one_cycle)),
        (ADAPTIVE, (sgd,)),
        (TABLE, (adam,)),
    ],
    ids=["plain", "augmented", "clipped one_cycle", "clipped adaptively", "table adam"],
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


def test_accumulated_gradients_are_those_of_the_larger_batch(config):
    """If no norm looks at the batch."""
    options = ("norm=layer", "optimizer=adam", "trainer.gradient_clip=0.5")
    whole = config(*options, "dataset.batch_size=96")
    parts = config(*options, "dataset.batch_size=32", "trainer.accumulate=3")
    result = run(parts)
    assert result["steps"] == run(whole)["steps"]
    for column in ("train/loss", "val/loss"):
        expected = recorded(whole, column)
        assert recorded(parts, column) == pytest.approx(expected, rel=1e-4)


def test_channels_last_changes_the_order_in_memory_alone(config):
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


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPUs"
)
def test_a_compiled_network_trains_as_an_eager_one(config):
    options = ("model.hidden=[8]", "trainer.max_epochs=1")
    eager, compiled = config(*options), config(*options, "device.compile=true")
    run(eager)
    run(compiled)
    assert recorded(compiled, "train/loss") == pytest.approx(
        recorded(eager, "train/loss"), rel=1e-3
    )


class InTheSameMemory(torch.autograd.Function):
    """As in a CUDA graph: every replay overwrites the outputs of the one before."""

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


def test_graphs_that_reuse_outputs_leave_the_scores_of_each_step(config, monkeypatch):
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


def test_jobs_do_not_influence_each_other(config):
    alone = run(config("seed=1", "model.dropout=0.3"))
    run(config("seed=2", "device.threads=2"))
    assert (
        run(config("seed=1", "model.dropout=0.3", "rerun=true"))["metrics"]
        == alone["metrics"]
    )


def test_custom_trains_as_torch_does(config):
    """First epochs agree to rounding; later ones differ as with any order of sums."""
    losses = {}
    for norm in ("custom", "torch"):
        settings = config(f"norm={norm}", "trainer.max_epochs=1")
        run(settings)
        losses[norm] = recorded(settings, "train/loss")
    assert losses["custom"] == pytest.approx(losses["torch"], rel=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    "scheduler", ["none", "cosine", "step", "one_cycle", "plateau"]
)
def test_every_optimizer_runs_with_every_scheduler(config, optimizer, scheduler):
    settings = config(
        f"optimizer={optimizer}",
        f"scheduler={scheduler}",
        "trainer.max_epochs=3",
        "optimizer.lr=0.01",
    )
    assert run(settings)["metrics"]["val/accuracy"] > 0.5
    rates = recorded(settings, "lr")
    # A step comes after four epochs, a plateau after three.
    constant = scheduler in ("none", "step", "plateau")
    assert (len(set(rates)) == 1) == constant


def test_cosine_follows_its_formula(config):
    settings = config("scheduler=cosine", "trainer.max_epochs=4", "optimizer.lr=0.2")
    run(settings)
    expected = [0.1 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert recorded(settings, "lr") == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["rmse", "mae"])
def test_errors_are_best_where_they_are_smallest(config, metric):
    settings = config(
        "dataset=diabetes",
        "model=tabular",
        f"trainer.monitor=val/{metric}",
        "trainer.max_epochs=4",
    )
    result = run(settings)
    values = recorded(settings, f"val/{metric}")
    assert result["best_epoch"] == values.index(min(values)) + 1


def test_early_stopping_restores_the_best_state(config):
    settings = config("trainer.max_epochs=30", "trainer.patience=2", "optimizer.lr=0.3")
    result = run(settings)
    assert result["epochs"] == result["best_epoch"] + 2
    best = load(run_folder(settings) / "checkpoints" / "best.ckpt")
    assert best["epoch"] == result["best_epoch"]


@pytest.mark.parametrize(
    ("metric", "words", "best"),
    [
        ("test/accuracy", ["trainer.test_every_epoch=true"], max),
        ("val/loss", [], min),
        ("val_recalibrated/loss", ["trainer.recalibration_batches=2"], min),
    ],
)
def test_a_run_stops_in_the_first_epoch_that_reaches_a_value(
    config, metric, words, best
):
    words = ["trainer.max_epochs=6", *words]
    whole = config(*words)
    run(whole)
    values = recorded(whole, metric)
    target = best(values[:4])  # is reached in one of the first four epochs
    first = values.index(target) + 1
    stopped = config(*words, f"trainer.stop_at='{metric}={target!r}'")
    result = run(stopped)
    assert (result["status"], result["epochs"]) == ("finished", first)
    assert result["ended_by"] == "stop_at"
    assert recorded(stopped, metric) == values[:first]


def test_a_run_stops_at_the_metric_that_it_monitors(config):
    words = ("trainer.monitor=val/macro_f1", "trainer.patience=1")
    settings = config(*words, "trainer.stop_at='val/macro_f1=0'")
    result = run(settings)
    assert (result["epochs"], result["ended_by"]) == (1, "stop_at")


def test_an_average_is_there_before_a_run_stops(config):
    words = ("trainer.average=swa", "trainer.average_start=0.5", "trainer.max_epochs=4")
    result = run(config(*words, "trainer.stop_at='val/accuracy=0'"))
    assert (result["epochs"], result["num_averaged"]) == (3, 1)


def test_a_run_that_reaches_no_value_trains_to_its_end(config):
    settings = config("trainer.stop_at='val/accuracy=1.5'", "trainer.max_epochs=2")
    result = run(settings)
    assert (result["epochs"], result["ended_by"]) == (2, "max_epochs")


@pytest.fixture
def interrupted(config):
    """The configuration of a run that has the state of its first two epochs."""
    settings = config("checkpoint.every_n_steps=1000")  # after every epoch
    run(settings)
    folder = run_folder(settings)
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "last.ckpt").unlink()
    previous = folder / "checkpoints" / "previous.ckpt"
    previous.replace(folder / "checkpoints" / "last.ckpt")
    return settings


@pytest.mark.parametrize("name", ["metrics.csv", "statistics.csv"])
def test_a_log_that_was_changed_before_a_resume_is_named(interrupted, name, capsys):
    path = run_folder(interrupted) / name
    rows = path.read_text().splitlines(keepends=True)
    number = rows[1].rpartition(",")[2]
    rows[1] = rows[1].removesuffix(number) + "9" * len(number.strip()) + "\n"
    path.write_text("".join(rows))
    capsys.readouterr()
    assert run(interrupted)["epochs"] == 2
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"{path} was changed after it was written" in warning


def test_a_resume_from_a_state_of_wrong_types_uses_the_one_before(interrupted, capsys):
    folder = run_folder(interrupted) / "checkpoints"
    state = load(folder / "last.ckpt")
    save(folder / "previous.ckpt", state)
    state["optimizer"]["param_groups"][0]["lr"] = "fast"
    save(folder / "last.ckpt", state)
    capsys.readouterr()
    result = run(interrupted)
    (warning,) = capsys.readouterr().err.splitlines()
    assert "last.ckpt is damaged: optimizer.param_groups.lr must be number" in warning
    fresh = run(interrupted | {"rerun": True})
    assert result["metrics"] == fresh["metrics"]


def test_a_score_of_outputs_that_are_not_finite_is_unknown(config):
    """The only step of the epoch makes the weights too large for the next pass."""
    words = ("norm=none", "optimizer.lr=1e30", "dataset.batch_size=1150")
    words += ("trainer.max_epochs=1",)
    result = run(config(*words, "trainer.monitor=val/macro_f1"))
    assert result["status"] == "diverged"
    assert result["reason"].endswith("loss of the best state is nan")

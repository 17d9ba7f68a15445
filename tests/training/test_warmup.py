"""Learning rates of every schedule, against numbers worked by hand."""

import io

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from normlab.config.identity import digest
from normlab.training.build import scheduler_builder
from normlab.training.classification import Classification
from normlab.training.experiment import run
from normlab.training.scheduling import step_after_batch, step_after_epoch


@pytest.fixture
def options(compose):
    def make(*words):
        words = ("optimizer.lr=0.8", "trainer.max_epochs=4", *words)
        return OmegaConf.to_container(compose(*words), resolve=True)["scheduler"]

    return make


def make_task(settings, steps_per_epoch):
    """A task with an optimizer at rate 0.8, and its scheduler."""

    def build_optimizer(network):
        return torch.optim.SGD(network.parameters(), lr=0.8)

    build = scheduler_builder(settings, steps_per_epoch)
    task = Classification(nn.Linear(1, 2), build_optimizer, build, settings["interval"])
    optimizer = build_optimizer(task.network)
    if build is not None:
        task.scheduler = build(optimizer)
    return task, optimizer


def make_epochs(task, optimizer, losses, steps_per_epoch):
    """The rate of every step of some epochs with these validation losses."""
    rates = []
    for loss in losses:
        for _ in range(steps_per_epoch):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            step_after_batch(task.scheduler, task.scheduler_interval)
        step_after_epoch(
            task.scheduler, task.scheduler_interval, lambda loss=loss: loss
        )
    return rates


def rates_of(settings, steps_per_epoch=2, losses=(4.0, 3.0, 2.0, 1.0)):
    task, optimizer = make_task(settings, steps_per_epoch)
    return make_epochs(task, optimizer, losses, steps_per_epoch)


BY_EPOCH = {
    "none": ([], [0.8, 0.8, 0.8, 0.8]),
    # cos of 0, 45, 90 and 135 degrees
    "cosine": ([], [0.8, 0.4 * (1 + 0.5**0.5), 0.4, 0.4 * (1 - 0.5**0.5)]),
    "linear": ([], [0.8, 0.6, 0.4, 0.2]),
    "polynomial": ([], [0.8, 0.45, 0.2, 0.05]),
    "exponential": (["scheduler.gamma=0.5"], [0.8, 0.4, 0.2, 0.1]),
    "multi_step": (["scheduler.milestones=[1,3]"], [0.8, 0.08, 0.08, 0.008]),
    "step": (["scheduler.step_size=2"], [0.8, 0.8, 0.08, 0.08]),
}


@pytest.mark.parametrize("name", BY_EPOCH)
def test_rates_of_epochs(options, name):
    words, expected = BY_EPOCH[name]
    rates = rates_of(options(f"scheduler={name}", *words))
    assert rates[::2] == pytest.approx(expected)
    assert rates[1::2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "length", ["scheduler.warmup_steps=4", "scheduler.warmup_epochs=2"]
)
@pytest.mark.parametrize("name", BY_EPOCH)
def test_rates_rise_by_equal_shares_of_the_schedule(options, name, length):
    words, expected = BY_EPOCH[name]
    first, second, *others = expected
    rates = rates_of(options(f"scheduler={name}", length, *words))
    warm = [first / 4, first / 2, second * 3 / 4, second]
    rest = [rate for rate in others for _ in range(2)]
    assert rates == pytest.approx(warm + rest)


def test_after_the_warmup_rates_are_the_same_bits(options):
    plain = rates_of(options("scheduler=cosine"))
    warm = rates_of(options("scheduler=cosine", "scheduler.warmup_steps=3"))
    assert warm[2:] == plain[2:]
    assert warm[0] < warm[1] < plain[0]


def test_a_plateau_falls_within_and_after_the_warmup(options):
    words = ["scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.5"]
    settings = options(*words, "scheduler.warmup_epochs=1.5")
    rates = rates_of(settings, losses=(1.0, 2.0, 0.5, 0.6))
    third = 0.8 / 3
    expected = [third, 2 * third, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4]
    assert rates == pytest.approx(expected)


def test_a_cycle_by_steps_is_multiplied(options):
    plain = rates_of(options("scheduler=one_cycle"))
    warm = rates_of(options("scheduler=one_cycle", "scheduler.warmup_steps=2"))
    assert warm == pytest.approx([plain[0] / 2, *plain[1:]])
    assert max(plain) == pytest.approx(0.8, rel=0.1)


def test_other_schedulers_may_step_with_batches(options):
    settings = options("scheduler=exponential", "scheduler.interval=step")
    assert rates_of(settings)[:3] == pytest.approx([0.8, 0.72, 0.648])


@pytest.mark.parametrize("name", [*BY_EPOCH, "one_cycle", "plateau"])
@pytest.mark.parametrize("epochs_before", [1, 3])
def test_a_resumed_schedule_has_the_same_rates(options, name, epochs_before):
    """Before and after the end of a warm-up of two epochs."""
    words, _ = BY_EPOCH.get(name, ([], None))
    settings = options(f"scheduler={name}", "scheduler.warmup_steps=4", *words)
    losses = [1.0, 2.0, 3.0, 4.0]
    expected = rates_of(settings, losses=losses)

    task, optimizer = make_task(settings, 2)
    make_epochs(task, optimizer, losses[:epochs_before], 2)
    file = io.BytesIO()
    torch.save(task.scheduler.state_dict(), file)
    file.seek(0)
    stored = torch.load(file, weights_only=True)
    optimizer_state = optimizer.state_dict()
    resumed, optimizer = make_task(settings, 2)
    optimizer.load_state_dict(optimizer_state)
    resumed.scheduler.load_state_dict(stored)
    rates = make_epochs(resumed, optimizer, losses[epochs_before:], 2)
    assert rates == expected[2 * epochs_before :]


def test_a_warmup_has_one_length(options):
    settings = options("scheduler.warmup_steps=4", "scheduler.warmup_epochs=0.5")
    with pytest.raises(ValueError, match="must be 0, got 4 and 0.5"):
        scheduler_builder(settings, 2)


def test_without_warmup_names_of_runs_are_as_before(compose):
    def digest_of(*words):
        config = OmegaConf.to_container(compose(*words), resolve=True)
        if not words:
            del config["scheduler"]["warmup_steps"]
            del config["scheduler"]["warmup_epochs"]
        return digest(config)

    assert digest_of("scheduler.warmup_epochs=0") == digest_of()
    assert digest_of("scheduler.warmup_epochs=1") != digest_of()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["scheduler=plateau", "scheduler.interval=epoch"],
            "scheduler.interval must be plateau for ReduceLROnPlateau, got 'epoch'",
        ),
        (
            ["scheduler=step", "scheduler.interval=plateau"],
            "scheduler.interval must be epoch or step for StepLR, got 'plateau'",
        ),
        (
            ["scheduler._target_=torch.optim.lr_scheduler.LambdaLR"],
            "must suit the optimizer and its own arguments",
        ),
        (
            ["scheduler=linear", "scheduler.start_factor=2"],
            "Starting multiplicative factor expected to be greater than 0",
        ),
    ],
)
def test_nothing_is_written_for_what_is_refused(compose, tmp_path, words, message):
    overrides = ["+scheduler._partial_=true"] if "LambdaLR" in words[0] else []
    overrides += [*words, "progress=false", f"paths.outputs={tmp_path}"]
    config = OmegaConf.to_container(compose(*overrides), resolve=True)
    with pytest.raises(ValueError) as error:
        run(config)
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []

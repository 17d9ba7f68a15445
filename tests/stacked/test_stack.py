import pytest
import torch

from normlab.config.identity import configuration_directory
from normlab.data.blocks import Block
from normlab.stacked.stack import Stack, batches
from normlab.training.together import Request
from stacked.runs import (
    SMALL,
    Trained,
    largest_difference,
    plain,
    requests,
    train_stacked,
)

FOLDER = configuration_directory()
REFUSED = {"noisy_batch", "spectral"}  # see test_trial.py
NORMS = sorted({path.stem for path in (FOLDER / "norm").glob("*.yaml")} - REFUSED)
OPTIMIZERS = {
    "sgd": "optimizer.nesterov=true",
    "adam": "optimizer.eps=1e-3",
    "adamw": "optimizer.weight_decay=0.1",
}
SCHEDULERS = {path.stem for path in (FOLDER / "scheduler").glob("*.yaml")}
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}


def pairs_of_runs(configs, dtype=torch.float32):
    return [[Trained(config, dtype) for config in configs] for _ in range(2)]


def configs_of(compose, *words, seeds=3):
    config = plain(compose(*SMALL, *words))
    return [config | {"seed": seed} for seed in range(seeds)]


def trained_both_ways(configs, dtype=torch.float32, epochs=1):
    """The largest difference between each run alone and in a stack."""
    alone, together = pairs_of_runs(configs, dtype)
    for run in alone:
        run.train_alone(epochs)
    train_stacked(together, epochs)
    pairs = zip(together, alone, strict=True)
    return max(largest_difference(one.network, two.network) for one, two in pairs)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float32", "float64"])
@pytest.mark.parametrize("norm", NORMS)
def test_after_an_epoch_each_run_is_what_it_is_alone(compose, norm, dtype):
    # Without momentum and at a small rate, rounding is not made larger.
    configs = configs_of(compose, f"norm={norm}", "optimizer.lr=0.01")
    assert trained_both_ways(configs, dtype) < 3 * TOLERANCES[dtype]


@pytest.mark.parametrize("model", ["lenet5", "tabular"])
def test_convolutions_and_tables_are_stacked_too(compose, model):
    words = [word for word in SMALL if not word.startswith("model.hidden")]
    data = "diabetes" if model == "tabular" else "digits"
    config = plain(compose(*words, f"model={model}", f"dataset={data}"))
    configs = [config | {"seed": seed} for seed in range(2)]
    assert trained_both_ways(configs, torch.float64) < 1e-11


DEEP = {
    "resnet": ("model.depth=20",),
    "vit": ("model.dim=16", "model.depth=2", "norm=layer"),
    "recurrent": ("model.hidden=8", "model.noise=0"),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("model", DEEP)
def test_deep_networks_are_what_they_are_alone(compose, model):
    words = [word for word in SMALL if not word.startswith("model.hidden")]
    words += [f"model={model}", *DEEP[model], "optimizer.lr=0.001"]
    config = plain(compose(*words, "dataset=digits", "optimizer.momentum=0"))
    configs = [config | {"seed": seed} for seed in range(2)]
    assert trained_both_ways(configs) < 1e-5


@pytest.mark.parametrize("scheduler", sorted(SCHEDULERS))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_run_has_its_own_optimizer_and_schedule(compose, optimizer, scheduler):
    words = [f"optimizer={optimizer}", f"scheduler={scheduler}", OPTIMIZERS[optimizer]]
    configs = configs_of(compose, *words, "scheduler.warmup_steps=3", seeds=2)
    other = dict(configs[1]["optimizer"])
    other |= {"lr": other["lr"] / 3, "weight_decay": 0.05}
    configs[1]["optimizer"] = other
    configs[1]["trainer"] = configs[1]["trainer"] | {"gradient_clip": 0.01}
    assert trained_both_ways(configs, torch.float64, epochs=2) < 1e-9


def test_a_run_that_diverges_leaves_the_others_as_they_are(compose):
    configs = configs_of(compose, "norm=none", "optimizer.momentum=0")
    configs[1]["optimizer"] = configs[1]["optimizer"] | {"lr": 1e200}
    alone, together = pairs_of_runs(configs, torch.float64)
    for number in (0, 2):
        alone[number].train_alone(epochs=3)
    train_stacked(together, epochs=3)
    assert not together[1].network.output.weight.isfinite().all()
    for number in (0, 2):
        pair = (together[number].network, alone[number].network)
        assert largest_difference(*pair) < 1e-12


def test_losses_and_predictions_are_those_of_each_run(compose):
    alone, together = pairs_of_runs(configs_of(compose, seeds=2), torch.float64)
    stack = Stack([run.task for run in together])
    answers = stack.train(requests(together, [run.blocks[0] for run in together]))
    for run, answer in zip(alone, answers, strict=True):
        run.train_alone()
        sums = run.task.train_sums
        block = run.blocks[0]
        counts = torch.full((len(answer.losses),), block.batch_size)
        counts[-1] = len(block.targets) - block.batch_size * (len(counts) - 1)
        assert float((answer.losses * counts).sum()) == pytest.approx(float(sums[1]))
        correct = answer.predictions.argmax(1).eq(block.targets).sum()
        assert int(correct) == int(sums[2])


def test_the_state_of_an_optimizer_is_that_of_torch(compose):
    configs = configs_of(compose, "optimizer=adam", seeds=2)
    alone, together = pairs_of_runs(configs, torch.float64)
    alone[1].train_alone()
    train_stacked(together)
    wanted = alone[1].task.trainer.optimizers[0].state_dict()
    found = together[1].task.trainer.optimizers[0].state_dict()
    assert found["param_groups"] == wanted["param_groups"]
    for number, state in wanted["state"].items():
        for name, value in state.items():
            torch.testing.assert_close(found["state"][number][name], value)


def test_a_run_goes_on_by_itself_after_it_has_left_a_stack(compose):
    alone, together = pairs_of_runs(configs_of(compose), torch.float64)
    for run in alone:
        run.train_alone(epochs=2)
    train_stacked(together)
    train_stacked(together[1:])
    together[0].train_alone()
    for one, two in zip(together, alone, strict=True):
        assert largest_difference(one.network, two.network) < 1e-11


class Identity:
    def learned(self, targets):
        return targets


def request(size, done=0, batch_size=4):
    targets = torch.arange(size)
    return Request(Identity(), Block(targets[:, None], targets, batch_size), done)


def made(*sizes):
    chosen = []
    for batch in batches([request(size) for size in sizes]):
        numbers = None if batch.chosen is None else batch.chosen.tolist()
        chosen.append((tuple(batch.learned.shape), numbers))
    return chosen


def test_equal_blocks_are_trained_together_to_their_last_batch():
    assert made(10, 10) == [((2, 4), None), ((2, 4), None), ((2, 2), None)]


def test_last_batches_of_unequal_size_follow_one_another():
    both = ((3, 4), None)
    assert made(7, 6, 6) == [both, ((1, 3), [0]), ((2, 2), [1, 2])]
    assert made(4, 4, 6) == [both, ((1, 2), [2])]


def test_batches_that_were_made_before_are_left_out():
    first, second = batches([request(8, done=1), request(8)])
    assert first.learned.tolist() == [[4, 5, 6, 7], [0, 1, 2, 3]]
    assert second.learned.tolist() == [[4, 5, 6, 7]]
    assert second.chosen.tolist() == [1]


def test_folds_of_unequal_size_are_trained_as_alone(compose):
    configs = configs_of(compose, seeds=2)
    configs[1]["trainer"] = configs[1]["trainer"] | {"max_samples": 38}
    assert trained_both_ways(configs, torch.float64) < 1e-12

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from normlab.config.identity import configuration_directory
from normlab.data.blocks import Block, EvaluationBlocks, Part
from normlab.data.transforms import Unchanged
from normlab.stacked import stack
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
    # In float32, a value that rounding moves across the kink of a ReLU changes an epoch
    # by up to 0.2, in 1 of 6 pairs of seeds.
    assert trained_both_ways(configs, torch.float64) < 1e-11


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


class TimesItsWeight(nn.Linear):
    """A run whose network multiplies by one weight: 1, 10 or 100."""

    device = torch.device("cpu")
    gradient_clip = scheduler = None
    scheduler_interval = "epoch"

    def __init__(self, factor):
        super().__init__(1, 1, bias=False)
        self.weight.data.fill_(factor)
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        self.trainer = SimpleNamespace(optimizers=[optimizer])

    @property
    def network(self):
        return self


@pytest.fixture
def three():
    return Stack([TimesItsWeight(factor) for factor in (1.0, 10.0, 100.0)])


def part(*values):
    inputs = torch.tensor(values)[:, None]
    rows = torch.arange(len(values))
    return EvaluationBlocks(Part(inputs, rows + 5, rows, Unchanged()))


def scoring(*scored):
    return [request(4)._replace(scored=parts) for parts in scored]


def outputs_of(found, name="val"):
    return [each[name].outputs.flatten().tolist() for each in found]


def test_parts_of_one_size_are_sent_through_all_networks(three):
    parts = part(1.0, 2.0), part(3.0, 4.0), part(5.0, 6.0)
    found = three.predict(scoring(*({"val": each} for each in parts)))
    assert outputs_of(found) == [[1, 2], [30, 40], [500, 600]]
    assert found[2]["val"].targets.tolist() == [5, 6]
    assert three.tasks[0].training


def test_parts_of_unequal_size_follow_one_another(three):
    parts = part(1.0, 2.0), part(3.0), part(5.0, 6.0)
    found = three.predict(scoring(*({"val": each} for each in parts)))
    assert outputs_of(found) == [[1, 2], [30], [500, 600]]


def test_runs_that_are_not_at_the_end_of_an_epoch_score_nothing(three):
    both = {"val": part(1.0), "test": part(2.0, 3.0)}
    found = three.predict(scoring({}, both, both))
    assert found[0] == {}
    assert outputs_of(found[1:]) == [[10], [100]]
    assert outputs_of(found[1:], "test") == [[20, 30], [200, 300]]
    assert three.predict(scoring({}, {}, {})) == [{}, {}, {}]


def test_samples_are_gathered_once_and_weights_are_read_every_time(three):
    asked = scoring(*({"val": part(1.0)} for _ in range(3)))
    three.predict(asked)
    for each in asked:
        each.scored["val"].part = None  # it would be needed to gather them again
    three.network.weights.mul_(2)
    assert outputs_of(three.predict(asked)) == [[2], [20], [200]]
    others = scoring(*({"val": part(7.0)} for _ in range(3)))
    assert outputs_of(three.predict(others)) == [[14], [140], [1400]]


def test_large_parts_are_left_to_the_runs(three, monkeypatch):
    small, large = {"val": part(1.0)}, {"val": part(1.0, 2.0)}
    monkeypatch.setattr(stack, "BLOCK_BYTES", 3 * small["val"].bytes)
    found = three.predict(scoring(small, large, small))
    assert found[1] == {}
    assert outputs_of(found[::2]) == [[1], [100]]


def test_parts_of_several_blocks_are_left_to_the_runs(three, monkeypatch):
    monkeypatch.setattr("normlab.data.blocks.MAX_EVALUATION_BATCH", 1)
    parts = [{"val": part(1.0, 2.0)} for _ in range(3)]
    assert three.predict(scoring(*parts)) == [{}, {}, {}]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("norm", NORMS)
def test_in_evaluation_each_network_returns_what_it_returns_alone(compose, norm):
    runs = [Trained(config) for config in configs_of(compose, f"norm={norm}", seeds=2)]
    stacked = train_stacked(runs)  # so that statistics have moved
    asked = requests(runs, [run.blocks[0] for run in runs])
    found = stacked.predict(
        [each._replace(scored=each.task.scored_parts) for each in asked]
    )
    for run, predicted in zip(runs, found, strict=True):
        (block,) = run.task.scored_parts["val"]
        alone = run.network.eval()(block.inputs)
        torch.testing.assert_close(predicted["val"].outputs, alone)
        assert torch.equal(predicted["val"].targets, block.targets)

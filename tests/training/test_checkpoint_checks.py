"""States that fit their run are taken, and all others are refused by name."""

import copy
import io
from pathlib import Path

import pytest
import torch
from torch import nn

from normlab.training.checkpoint_checks import check_alike, check_state
from normlab.training.checkpoint_files import LAST, PREVIOUS, load_latest, save
from training.states import make_task, stepwise, stored_state

PATH = Path("outputs", "group", "some-run", "checkpoints", LAST)


def stored_and_loaded(state):
    """A state as it comes out of a file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("build_scheduler", [None, stepwise()])
def test_the_state_of_the_run_is_taken(build_scheduler):
    state = stored_and_loaded(stored_state(make_task(build_scheduler)))
    assert check_state(state, PATH, make_task(build_scheduler)) is state


def test_a_state_of_an_earlier_version_is_taken():
    state = stored_state(make_task())
    for key in ("run", "log_digests", "unfinished_block"):
        del state[key]
    state["train_sums"] = None
    assert check_state(state, PATH, make_task()) is state


def test_a_state_before_the_first_epoch_is_taken():
    state = stored_state(make_task(), epoch=0)
    state["best"] = {"epoch": 0, "value": float("nan"), "metrics": {}, "network": {}}
    state["metrics"] = {}
    assert check_state(state, PATH, make_task()) is state


def places(tree, prefix=()):
    """The paths of all values in nested dictionaries, and in lists of them."""
    items = []
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list) and tree and isinstance(tree[0], dict):
        items = enumerate(tree)
    for key, value in items:
        yield (*prefix, key)
        yield from places(value, (*prefix, key))


def changed(state, place, value):
    state = copy.deepcopy(state)
    *path, last = place
    node = state
    for key in path:
        node = node[key]
    node[last] = value
    return state


STATE = stored_state(make_task(stepwise()))
# A name, and options and histories of which a fresh optimizer has none to compare with.
ANY_TYPE = {"run", "maximize", "foreach", "differentiable", "fused"}
PLACES = [
    place
    for place in places(STATE)
    if place[-1] not in ANY_TYPE and place[:2] != ("optimizer", "state")
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_value_of_another_type_is_refused(place):
    wrong = changed(STATE, place, {1, 2})
    with pytest.raises(ValueError, match=rf"last\.ckpt is damaged: {place[0]}"):
        check_state(wrong, PATH, make_task(stepwise()))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("network", "0.weight"),
            torch.ones(4, 2),
            "0.weight must be a tensor .* 4 x",
        ),
        (("network", "0.bias"), torch.ones(4).double(), "float32, 4, got .*float64"),
        (("best", "network", "2.bias"), torch.ones(3), "best.network.2.bias must be"),
        (
            ("network", "3.bias"),
            torch.ones(3),
            "be the network of the run, 3.bias",
        ),
        (("progress", "epoch"), 1.5, "progress.epoch must be int, got float"),
        (("progress", "more"), 1, "progress holds an unknown more"),
        (("random", "cpu"), torch.ones(3), "random.cpu must be a tensor"),
        (("scheduler",), None, "scheduler must be stored if the run has one"),
        (("scheduler", "last_epoch"), "2", "scheduler.last_epoch must be number"),
        (("optimizer", "param_groups"), [], "must have 1 groups of parameters, got 0"),
        (("optimizer", "param_groups", 0, "lr"), "x", "lr must be number, got str"),
        (("optimizer", "param_groups", 0, "params"), [0], "the parameters of the net"),
        (("optimizer", "state", 0), [1], "optimizer.state must hold dict, got list"),
        (
            ("optimizer", "state", 0, "momentum_buffer"),
            "x",
            "optimizer.state must hold",
        ),
        (("train_sums",), [1.0], "train_sums must hold"),
        (("unfinished_block",), {"losses": torch.ones(1)}, "must hold predictions"),
        (("logs", "metrics.csv"), "120", "logs must hold int, got str"),
        (("average",), {"network": {}}, "average must hold num_averaged"),
        (
            ("average",),
            {"network": {"0.bias": torch.ones(4)}, "num_averaged": 2},
            "average.network must be the network of the run",
        ),
        (
            ("average",),
            {"network": STATE["network"], "num_averaged": 0.5},
            "average.num_averaged must be int, got float",
        ),
        (("best",), {"epoch": 1}, "best must hold value"),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else None,
)
def test_what_does_not_fit_the_run_is_named(place, value, message):
    with pytest.raises(ValueError, match=message):
        check_state(changed(STATE, place, value), PATH, make_task(stepwise()))


def test_the_state_of_another_run_is_refused():
    with pytest.raises(ValueError, match=r"last\.ckpt is of the run another-run"):
        check_state(STATE | {"run": "another-run"}, PATH)
    with pytest.raises(ValueError, match="is not the state of a run"):
        check_state({"network": {}}, PATH)


def test_another_version_may_store_other_options_of_an_optimizer():
    state = copy.deepcopy(STATE)
    (group,) = state["optimizer"]["param_groups"]
    del group["nesterov"]
    group |= {"decoupled": True, "lr": 1}
    state["scheduler"]["verbose"] = False
    assert check_state(state, PATH, make_task(stepwise())) is state


def test_other_groups_of_the_same_parameters_are_of_another_version():
    def build_optimizer(network):
        *first, last = network.parameters()
        return torch.optim.SGD([{"params": first}, {"params": [last]}], momentum=0.9)

    task = make_task(stepwise())
    task.build_optimizer = build_optimizer
    with pytest.raises(
        ValueError,
        match=r"last\.ckpt is of another version: its optimizer divides the parameters "
        r"into groups of 6, now they are groups of 5, 1; delete it, or finish the run "
        r"with that version$",
    ):
        check_state(STATE, PATH, task)


def test_an_optimizer_that_needs_its_gpu_is_not_checked():
    def build_optimizer(network):
        raise RuntimeError("parameters must be on the GPU")

    task = make_task()
    task.build_optimizer = build_optimizer
    state = changed(stored_state(make_task()), ("optimizer", "param_groups"), [])
    assert check_state(state, PATH, task) is state


def test_an_older_checkpoint_is_tried_if_the_newest_does_not_fit(tmp_path):
    folder = tmp_path / "some-run" / "checkpoints"
    folder.mkdir(parents=True)
    task = make_task()
    save(folder / PREVIOUS, stored_state(task, epoch=2))
    wrong = changed(stored_state(task, epoch=3), ("optimizer", "state", 0), "text")
    save(folder / LAST, wrong)
    warnings = []
    state = load_latest(folder, task, warnings.append)
    assert (state["read_from"], state["progress"]["epoch"]) == (PREVIOUS, 2)
    assert "last.ckpt is damaged: optimizer.state must hold dict" in warnings[0]


def test_none_stands_for_any_value_and_exactness_for_all_keys():
    check_alike({"a": None}, {"a": "x", "b": 1}, "state")
    check_alike({"a": 1, "b": 2}, {"a": 1.5}, "state", exact=False)
    with pytest.raises(ValueError, match="state must hold b"):
        check_alike({"a": 1, "b": 2}, {"a": 1}, "state")
    with pytest.raises(ValueError, match=r"state\.a must be bool, got int"):
        check_alike({"a": True}, {"a": 1}, "state")
    with pytest.raises(ValueError, match=r"a tensor of torch.float32, one number, got"):
        check_alike(nn.Linear(1, 1).weight.sum(), 1.0, "state")

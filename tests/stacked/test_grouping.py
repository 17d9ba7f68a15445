import copy

import pytest

from normlab.stacked.grouping import (
    check_members,
    check_switch,
    evenly,
    plan,
    shared_settings,
    why_alone,
)

CONFIG = {
    "seed": 0,
    "choices": {"norm": "custom"},
    "dataset": {"fold": 0, "batch_size": 8, "load": {"_target_": "load", "fold": 0}},
    "model": {"_target_": "MLP", "hidden": [3]},
    "norm": {"_target_": "BatchNorm", "eps": 1e-5},
    "reparametrize": None,
    "task": {"_target_": None},
    "device": {"devices": 1, "precision": "32-true", "compile": False},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "nesterov": False},
    "scheduler": {"_target_": None},
    "trainer": {"max_epochs": 3, "patience": None},
    "logger": {"tensorboard": {}},
    "callbacks": {},
    "profile": False,
    "trial": None,
    "cache_features": True,
}


def changed(**values):
    """The configuration with other values, by the names of keys with __ for dots."""
    config = copy.deepcopy(CONFIG)
    for name, value in values.items():
        *groups, key = name.split("__")
        node = config
        for group in groups:
            node = node[group]
        node[key] = value
    return config


@pytest.mark.parametrize(
    "own",
    [
        {"seed": 7},
        {"optimizer__lr": 0.01, "optimizer__weight_decay": 0.1},
        {"dataset__fold": 3, "dataset__load__fold": 3},
        {"dataset__normalize": "none"},
        {"scheduler___target_": "torch.optim.lr_scheduler.StepLR"},
        {"trainer__max_epochs": 9, "trainer__patience": 2},
        {"trainer__gradient_clip": 1.0},
    ],
)
def test_runs_may_differ_in_what_each_keeps_for_itself(own):
    assert shared_settings(changed(**own)) == shared_settings(CONFIG)
    assert plan([CONFIG, changed(**own)], workers=1).stacks == [[0, 1]]


def test_weights_of_classes_follow_from_the_division_of_the_data():
    one = changed(task__class_weights="balanced")
    other = copy.deepcopy(one)
    other["dataset"]["fold"] = 3
    assert shared_settings(one | {"seed": 7}) == shared_settings(one)
    assert shared_settings(other) != shared_settings(one)
    one["task"]["class_weights"] = other["task"]["class_weights"] = [1.0, 2.0]
    assert shared_settings(other) == shared_settings(one)


@pytest.mark.parametrize(
    "other",
    [
        {"norm__eps": 1e-3},
        {"model__hidden": [4]},
        {"dataset__batch_size": 16},
        {"optimizer__nesterov": True},
        {"optimizer___target_": "torch.optim.Adam"},
        {"device__deterministic": True},
        {"trainer__max_samples": 100},
    ],
)
def test_other_settings_divide_runs(other):
    found = plan([CONFIG, changed(**other)], workers=1)
    assert found.stacks == []
    reason = "no other run of the sweep shares its network and batch"
    assert found.alone == {0: reason, 1: reason}


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ({"callbacks": {"gradient_norm": {}}}, "callbacks"),
        ({"trial": {"_target_": "x"}}, "prune"),
        ({"profile": True}, "profile"),
        ({"task___target_": "mine.Task"}, "task of your own"),
        ({"logger": {"wandb": {}}}, "loggers"),
        ({"device__precision": "bf16-mixed"}, "precision"),
        ({"device__compile": True}, "compiled"),
        ({"device__strategy": "ddp"}, "device.strategy=ddp trains one network"),
        ({"trainer__average": "ema"}, "trainer.average"),
        ({"trainer__accumulate": 2}, "trainer.accumulate"),
        ({"trainer__adaptive_clip": 0.1}, "trainer.adaptive_clip"),
        ({"trainer__max_seconds": 5.0}, "trainer.max_seconds"),
        ({"trainer__detect_anomaly": True}, "trainer.detect_anomaly"),
        ({"optimizer___target_": "timm.optim.Lion"}, "timm.optim.Lion has no stacked"),
    ],
)
def test_what_a_stack_cannot_do_is_trained_alone_with_its_reason(setting, part):
    config = changed(**setting)
    assert part in why_alone(config)
    found = plan([config, CONFIG, CONFIG, config], workers=1)
    assert found.stacks == [[1, 2]]
    assert list(found.alone) == [0, 3]
    assert found.items == [[1, 2], [0], [3]]


def test_a_run_that_a_stack_can_train_has_no_reason_against_it():
    assert why_alone(CONFIG) is None


def sizes(count, workers, members="auto", norms=1):
    configs = [changed(norm__eps=number % norms + 1.0) for number in range(count)]
    return [len(stack) for stack in plan(configs, workers, members).stacks]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ((10, 1), [10]),
        ((10, 2), [5, 5]),
        ((40, 2), [20, 20]),
        ((3, 2), [3]),
        ((200, 1), [50, 50, 50, 50]),
        ((10, 1, 4), [4, 3, 3]),
        ((60, 2, "auto", 3), [10] * 6),
        ((12, 2, "auto", 3), [4, 4, 4]),
    ],
)
def test_runs_are_divided_among_the_workers(arguments, wanted):
    assert sorted(sizes(*arguments), reverse=True) == wanted


def test_every_run_is_in_one_place():
    configs = [changed(norm__eps=float(number % 3)) for number in range(31)]
    found = plan(configs, workers=2)
    numbers = [number for item in found.items for number in item]
    assert sorted(numbers) == list(range(31))


def test_runs_of_several_processes_are_refused():
    with pytest.raises(ValueError, match=r"device\.devices=1, got 2.*launcher=queue"):
        plan([CONFIG, changed(device__devices=2)], workers=1)


@pytest.mark.parametrize(
    ("count", "size", "wanted"),
    [(4, 2, [2, 2]), (5, 4, [2, 3]), (7, 3, [2, 2, 3]), (3, 8, [3])],
)
def test_parts_differ_by_one_at_most(count, size, wanted):
    assert [len(part) for part in evenly(list(range(count)), size)] == wanted


@pytest.mark.parametrize("members", ["auto", 2, 30])
def test_numbers_of_members_are_taken(members):
    check_members(members)


@pytest.mark.parametrize("members", [1, 0, -3, 2.5, "all", None, True])
def test_other_numbers_of_members_are_refused(members):
    with pytest.raises(ValueError, match=r"hydra\.launcher\.members must be auto"):
        check_members(members)


def test_switches_are_true_or_false():
    check_switch("exact", False)
    with pytest.raises(ValueError, match=r"exact must be true or false, got 'no'"):
        check_switch("exact", "no")

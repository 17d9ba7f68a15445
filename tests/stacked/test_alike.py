import pytest
from torch import nn

from normlab.stacked.alike import NotStackable, check_alike, first_batch


def alike(asked):
    with pytest.raises(NotStackable) as error:
        check_alike(asked)
    return str(error.value)


def test_runs_of_unlike_networks_or_samples_are_refused(runs):
    _, asked = runs()
    _, wider = runs("model.hidden=[7]")
    _, larger = runs("dataset.batch_size=9")
    assert alike([asked[0], wider[0]]) == (
        "the networks differ in the shapes of their parameters"
    )
    assert alike([asked[0], larger[0]]) == (
        "the samples or the batches of the runs differ in shape"
    )


def test_runs_that_weigh_classes_differently_are_refused(runs):
    found, asked = runs("task.class_weights=balanced")
    assert "task.class_weights" in alike(asked)
    weights = found[0].task.class_weights
    for run in found:
        run.task.class_weights = weights.clone()
    check_alike(asked)


def test_an_optimizer_without_a_stacked_form_is_refused(runs):
    _, asked = runs("optimizer=adagrad")
    assert alike(asked).startswith("the optimizer Adagrad has no stacked form")


def test_steps_that_a_stack_does_not_make_are_refused(runs):
    found, asked = runs()
    micro = asked[1].block._replace(micro_batch_size=4)
    text = alike([asked[0], asked[1]._replace(block=micro)])
    assert text == "trainer.accumulate has no stacked form"
    found[1].task.adaptive_clip = 0.1
    assert alike(asked) == "trainer.adaptive_clip has no stacked form"
    found[0].task.averaging = object()
    assert alike(asked) == "an average of the weights has no stacked form"


def test_batches_of_one_run_only_are_refused(runs):
    _, asked = runs()
    block = asked[0].block
    short = asked[0]._replace(
        block=block._replace(inputs=block.inputs[:3], targets=block.targets[:3])
    )
    with pytest.raises(NotStackable, match="differ in size"):
        first_batch([short, asked[1]])


class Loss(nn.Module):
    def __init__(self, power):
        super().__init__()
        self.power = power


def test_losses_of_the_user_must_be_alike(runs):
    found, asked = runs()
    for run in found:
        run.task.criterion = Loss(2)
    check_alike(asked)
    found[2].task.criterion = Loss(3)
    assert alike(asked) == "power of task.loss differs in the runs"


def test_numbers_outside_of_parameters_must_be_alike(runs):
    found, asked = runs()
    found[1].network.hidden.scale = 2.0
    assert alike(asked) == (
        "hidden.scale differs in the runs and is neither a parameter nor a buffer"
    )
    for run in found:
        run.network.hidden.scale = float("nan")
        run.network.hidden.weights = list(run.network.parameters())
    check_alike(asked)
    found[2].network.hidden.is_open = True
    assert alike(asked).startswith("hidden.is_open differs")

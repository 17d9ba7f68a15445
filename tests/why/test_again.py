"""The second training is the first one, whatever is measured on the way."""

import pytest
import torch

from normlab.endings import Diverged
from normlab.evaluation.batch_loss import BatchLoss, buffers_of
from normlab.evaluation.evaluate import prepare_stored
from normlab.why.again import steps_of_run, train_again

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec.*")

SETTINGS = {
    "plain": [],
    "momentum, dropout and a scheduler": [
        "model.dropout=0.3",
        "scheduler=one_cycle",
        "trainer.gradient_clip=1.0",
    ],
    "plateau": ["scheduler=plateau", "scheduler.patience=0"],
}


@pytest.fixture
def trained(make_run):
    """trained(*words): the folder of a run of two epochs."""
    return lambda *words: make_run("trainer.max_epochs=2", *words)


@pytest.mark.parametrize("words", SETTINGS.values(), ids=SETTINGS)
def test_the_same_weights_as_the_run_had_at_its_end(trained, words):
    folder = trained(*words)
    config, prepared = prepare_stored(folder)
    last = steps_of_run(config, prepared)
    network = prepared.task.network
    for step in train_again(config, prepared, last, measured={1, last // 2}):
        batch = step.batch
        batch_loss = BatchLoss(
            network, prepared.task.loss, batch.inputs, batch.targets, step.buffers
        )
        batch_loss.gradient(step.before)
    stored = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    ours = network.state_dict()
    for name, value in stored["network"].items():
        assert torch.allclose(ours[name], value, atol=1e-6), name


def test_a_run_that_ends_by_steps_has_so_many(trained):
    config, prepared = prepare_stored(trained("trainer.max_steps=7"))
    assert steps_of_run(config, prepared) == 7


@pytest.mark.parametrize("words", [["trainer.accumulate=2"], ["optimizer=sam"]])
def test_a_run_whose_steps_are_no_single_passes_is_refused(trained, words):
    config, prepared = prepare_stored(trained(*words))
    with pytest.raises(ValueError, match="must make its steps from one pass"):
        steps_of_run(config, prepared)


def test_a_step_knows_the_state_before_and_after_it(trained):
    folder = trained("norm=torch")
    config, prepared = prepare_stored(folder)
    start = prepared.task.network.state_dict()
    start = {name: value.clone() for name, value in start.items()}
    first, third = train_again(config, prepared, 3, measured={1, 3})
    assert (first.number, third.number) == (1, 3)
    assert all(value.equal(start[name]) for name, value in first.before.items())
    assert first.buffers["hidden.0.norm.num_batches_tracked"].item() == 0
    assert first.buffers_after["hidden.0.norm.num_batches_tracked"].item() == 1
    end = buffers_of(prepared.task.network)
    assert all(value.equal(end[name]) for name, value in third.buffers_after.items())
    assert not third.after["output.weight"].equal(third.before["output.weight"])


def test_random_numbers_of_the_caller_are_as_before(trained):
    folder = trained("model.dropout=0.5")
    config, prepared = prepare_stored(folder)
    before = torch.random.get_rng_state()
    assert list(train_again(config, prepared, 2, measured=set())) == []
    assert torch.random.get_rng_state().equal(before)


def test_divergence_is_reported_with_its_step(trained):
    folder = trained("optimizer.lr=1e30", "norm=none")
    config, prepared = prepare_stored(folder)
    with pytest.raises(Diverged, match="at step 2") as error:
        list(train_again(config, prepared, 10, measured=set()))
    assert error.value.step == 2

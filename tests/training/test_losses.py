"""Losses of a configuration, against PyTorch's own and numbers worked out by hand."""

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.nn import functional

from normlab.config.identity import digest
from normlab.config.targets import check_homes
from normlab.training.build import build_task
from normlab.training.losses import class_weights

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [1.0, 1.0, 1.0], [4.0, 0, 0]])
CLASSES = torch.tensor([0, 1, 2, 0])
TABLE = ["dataset=diabetes", "model=tabular"]
MARGIN = "+task.loss._target_=torch.nn.MultiMarginLoss"


@pytest.fixture
def config(compose):
    def make(*overrides):
        return OmegaConf.to_container(compose(*overrides), resolve=True)

    return make


@pytest.fixture
def task_of(config):
    def make(*overrides, targets=CLASSES, num_outputs=3):
        return build_task(
            config(*overrides), nn.Identity(), 5, targets, num_outputs=num_outputs
        )

    return make


def test_balanced_classes_weigh_the_same_as_a_whole():
    weights = class_weights("balanced", CLASSES, 3)
    assert weights.tolist() == pytest.approx([4 / (3 * 2), 4 / 3, 4 / 3])
    totals = torch.zeros(3).index_add(0, CLASSES, weights[CLASSES])
    assert totals.tolist() == pytest.approx([4 / 3] * 3)
    assert class_weights("balanced", CLASSES, 4)[3] == 1.0  # it has no sample
    assert class_weights(None, CLASSES, 3) is None


@pytest.mark.parametrize(
    "wanted", [[], [1, 2], [1, 2, 3, 4], [1, -1, 1], [0, 0, 0], [1, float("nan"), 1]]
)
def test_weights_must_be_one_number_per_class(wanted):
    with pytest.raises(ValueError, match="balanced or 3 numbers of at least 0"):
        class_weights(wanted, CLASSES, 3)


def test_weighted_and_smoothed_training_is_scored_by_the_plain_loss(task_of):
    task = task_of("task.class_weights=[1,2,0.5]", "task.label_smoothing=0.3")
    weights = torch.tensor([1.0, 2.0, 0.5])
    logs = LOGITS.log_softmax(1)
    # The true class counts 1 - e + e / K, and any other e / K.
    targets = 0.7 * torch.eye(3)[CLASSES] + 0.1
    expected = -(weights * targets * logs).sum() / weights[CLASSES].sum()
    assert task.loss(LOGITS, CLASSES).item() == pytest.approx(expected.item())
    scores = task.metrics_from(task.score(LOGITS, CLASSES).tolist())
    plain = functional.cross_entropy(LOGITS, CLASSES).item()
    assert scores == {"loss": pytest.approx(plain), "accuracy": 0.5}


def test_mixed_samples_are_scored_by_their_larger_share(task_of):
    task = task_of("task.mixup=0.2")
    shares = torch.tensor([[0.9, 0.1, 0], [0.3, 0, 0.7], [0, 1, 0], [0, 0.6, 0.4]])
    expected = -(shares * LOGITS.log_softmax(1)).sum(1).mean()
    assert task.loss(LOGITS, shares).item() == pytest.approx(expected.item())
    assert task.score(LOGITS, shares)[2] == 2


def test_a_loss_is_built_by_its_target_and_is_what_is_scored(task_of):
    task = task_of(MARGIN, "+task.loss.margin=2")
    # mean over the classes of max(0, 2 - true logit + other logit), with 0 for the true
    rows = [0.5, 0 + 1 + 4, 2 + 2, 0]
    expected = sum(rows) / 3 / 4
    assert task.loss(LOGITS, CLASSES).item() == pytest.approx(expected)
    scores = task.metrics_from(task.score(LOGITS, CLASSES).tolist())
    assert scores["loss"] == pytest.approx(expected)


def test_a_loss_of_numbers_gets_them_standardized(task_of):
    words = ("+task.loss._target_=torch.nn.SmoothL1Loss", "+task.loss.beta=2")
    task = task_of(*TABLE, *words, targets=torch.tensor([1.0, 3.0]), num_outputs=1)
    predictions, targets = torch.tensor([[0.0], [5.0]]), torch.tensor([3.0, 2.0])
    expected = (1**2 / 4 + (5 - 1)) / 2  # of the errors 1 and 5
    assert task.loss(predictions, targets).item() == pytest.approx(expected)
    scores = task.metrics_from(task.score(predictions, targets).tolist())
    assert scores["loss"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([MARGIN, "+task.loss.p=3"], "does not take these arguments: only p == 1"),
        (
            ["+task.loss._target_=torch.nn.Linear", "+task.loss.in_features=3"],
            "torch.nn.Linear does not take these arguments",
        ),
        (
            ["+task.loss._target_=torch.nn.PReLU"],
            "must have no parameters, .*torch.nn.PReLU has weight",
        ),
        (
            ["+task.loss._target_=torch.nn.MSELoss"],
            r"MSELoss must take predictions of shape \(2, 3\) and targets of shape",
        ),
        (
            [MARGIN, "+task.loss.reduction=none"],
            "return one number: grad can be implicitly created only for scalar",
        ),
        ([MARGIN, "task.mixup=1"], r"targets of shape \(2, 3\) and type torch.float32"),
        (
            [MARGIN, "task.label_smoothing=0.1"],
            "task.label_smoothing must be 0.0 beside a loss with a _target_, got 0.1",
        ),
        (["task.loss={margin: 1}"], "must be a name or have a _target_, got"),
        (
            [*TABLE, "task.class_weights=balanced"],
            "task.class_weights must be null for regression, which has no classes",
        ),
        ([*TABLE, "task.mixup=1"], "task.mixup must be null for regression"),
    ],
)
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_that_could_not_train_are_refused(task_of, words, message):
    with pytest.raises(ValueError, match=message):
        task_of(*words)


def test_a_loss_must_be_a_module_of_a_trusted_package(config):
    check_homes(config(MARGIN))
    for target, message in (
        ("torch.optim.SGD", "task.loss._target_ must be a class derived from"),
        ("os.system", "'os.system' is not in a trusted package"),
    ):
        with pytest.raises(ValueError, match=message):
            check_homes(config(f"+task.loss._target_={target}"))
    with pytest.raises(ValueError, match="task.loss has 'marign', which .* not take"):
        check_homes(config(MARGIN, "+task.loss.marign=2"))


def test_another_loss_is_another_run_and_the_default_is_not(config):
    plain = config()
    name = digest(plain)
    for key in ("label_smoothing", "class_weights", "mixup", "cutmix"):
        del plain["task"][key]
    assert digest(plain) == name
    words = ["task.label_smoothing=0.1", "task.class_weights=balanced", "task.mixup=1"]
    assert len({name, *(digest(config(word)) for word in [*words, MARGIN])}) == 5
    assert digest(config("task.mixup=1")) == digest(config("task.mixup=1.0"))

import pytest
import torch
from torch import nn

from models.helpers import Recorder, batch_norm, no_norm, num_parameters, torch_norm
from normlab.models import LeNet5
from normlab.models.lenet import pooled_size


def test_cifar_variant_of_the_notebooks():
    network = LeNet5((3, 32, 32), 10, batch_norm, dropout=0.3)
    assert num_parameters(network) == 62_458
    assert network.hidden[0].linear.in_features == 400
    assert [layer.dropout.p for layer in network.hidden] == [0.3, 0.3]
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_fashion_mnist_variant_of_the_notebooks():
    norm = Recorder()
    network = LeNet5((1, 28, 28), 10, norm, activation="sigmoid", pooling="avg")
    assert network.hidden[0].linear.in_features == 256
    assert isinstance(network.features.pool1, nn.AvgPool2d)
    assert isinstance(network.features.conv2.activation, nn.Sigmoid)
    assert norm.calls == [(6, 2), (16, 2), (120, 1), (84, 1)]


def test_forward_by_its_parts():
    torch.manual_seed(0)
    network = LeNet5((1, 28, 28), 10, no_norm, activation="sigmoid", pooling="avg")
    x = torch.randn(2, 1, 28, 28)
    parameters = list(network.parameters())
    y = x
    for weight, bias in zip(parameters[0:4:2], parameters[1:4:2], strict=True):
        y = nn.functional.avg_pool2d(
            torch.sigmoid(nn.functional.conv2d(y, weight, bias)), 2
        )
    y = y.flatten(1)
    for weight, bias in zip(parameters[4:8:2], parameters[5:8:2], strict=True):
        y = torch.sigmoid(y @ weight.T + bias)
    torch.testing.assert_close(network(x), y @ parameters[8].T + parameters[9])


def test_other_sizes_and_channels():
    network = LeNet5(
        (2, 40, 28), 3, batch_norm, channels=[4, 8], hidden=[5], kernel_size=3
    )
    assert (
        network.hidden[0].linear.in_features
        == 8 * pooled_size(40, 3) * pooled_size(28, 3)
        == 8 * 8 * 5
    )
    assert network(torch.zeros(2, 2, 40, 28)).shape == (2, 3)


def test_errors():
    with pytest.raises(ValueError, match="at least 28 x 28 pixels, got 8 x 8"):
        LeNet5((1, 8, 8), 10, no_norm)
    with pytest.raises(
        ValueError, match=r"model\.kernel_size=11 leaves nothing of 28 pixels"
    ):
        LeNet5((1, 28, 28), 10, no_norm, kernel_size=11)
    with pytest.raises(ValueError, match=r"model\.channels must be a list of 2"):
        LeNet5((1, 28, 28), 10, no_norm, channels=[6])


class NotebookLeNet(nn.Module):
    """The course notebook's constructor, with `use_batch_norm` before `nlabels`."""

    def __init__(self, dimx, use_batch_norm, nlabels, pr):
        super().__init__()
        norm = torch_norm if use_batch_norm else no_norm
        self.network = LeNet5((3, dimx, dimx), 10, norm, dropout=pr)


class NotebookTrained(NotebookLeNet):
    """Its subclass, which passes the two arguments in the wrong order."""

    def __init__(self, dimx, nlabels, use_batch_norm):
        super().__init__(dimx, nlabels, use_batch_norm, pr=0.3)


@pytest.mark.parametrize("use_batch_norm", [True, False])
def test_both_arms_of_the_notebook_had_batch_norm(use_batch_norm):
    """Its CIFAR-10 network "without" batch norm has it: ten labels are a true flag."""
    made = NotebookTrained(32, 10, use_batch_norm)
    assert (
        sum(
            isinstance(module, nn.modules.batchnorm._BatchNorm)
            for module in made.modules()
        )
        == 4
    )
    assert num_parameters(made) == 62_458

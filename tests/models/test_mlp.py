import pytest
import torch

from models.helpers import Recorder, batch_norm, no_norm, num_parameters
from normlab.models import MLP


def test_the_notebooks_mlp():
    norm = Recorder()
    network = MLP((1, 28, 28), 10, norm, hidden=[128, 64])
    assert (
        num_parameters(network)
        == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
        == 109_386
    )
    assert norm.calls == [(128, 1), (64, 1)]
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_values_by_hand():
    network = MLP((2,), 1, no_norm, hidden=[1])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(1.0)
    assert network(torch.tensor([[1.0, 2.0], [-3.0, 1.0]])).flatten().tolist() == [
        5.0,
        1.0,
    ]


def test_tabular_with_a_norm_on_the_inputs():
    network = MLP((14,), 1, batch_norm, hidden=[20, 10], norm_input=True)
    x = torch.randn(50, 14) * 1000 + 5000
    assert network.norm_input(x).mean(0).abs().max() < 1e-4
    assert num_parameters(network) == 14 * 20 + 20 + 20 * 10 + 10 + 10 + 1 + 2 * (
        14 + 20 + 10
    )
    assert network(x).shape == (50, 1)


def test_no_hidden_layer_is_a_linear_model():
    assert num_parameters(MLP((14,), 3, no_norm, hidden=[])) == 14 * 3 + 3


def test_bias_switch_spares_the_output_layer():
    network = MLP((4,), 2, batch_norm, hidden=[3], bias=False, dropout=0.5)
    assert network.hidden[0].linear.bias is None
    assert network.output.bias is not None
    assert network.hidden[0].dropout.p == 0.5


def test_errors():
    with pytest.raises(ValueError, match=r"model\.hidden must be"):
        MLP((4,), 2, no_norm, hidden=[3, 0])
    with pytest.raises(ValueError, match="dropout probability"):
        MLP((4,), 2, no_norm, dropout=1.5)

import pytest
import torch
from torch import nn

from models.helpers import Activating, no_norm
from normlab.models import MLP, LeNet5
from normlab.models.blocks import (
    TokenNorm,
    activation,
    activation_after,
    block,
    choose,
    he_initialization,
    hidden_layers,
    image_shape,
    pooling,
    positive_integer,
    refuse_activation,
    widths,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", [0.0, 0.0, 2.0]),
        ("sigmoid", [0.26894, 0.5, 0.88080]),
        ("tanh", [-0.76159, 0.0, 0.96403]),
        ("silu", [-0.26894, 0.0, 1.76159]),
        ("gelu", [-0.15866, 0.0, 1.95450]),
        ("none", [-1.0, 0.0, 2.0]),
    ],
)
def test_activation_values(name, expected):
    torch.testing.assert_close(
        activation(name)(torch.tensor([-1.0, 0.0, 2.0])),
        torch.tensor(expected),
        atol=1e-5,
        rtol=0,
    )


def test_unknown_activation_suggests_the_nearest():
    with pytest.raises(
        ValueError,
        match=r"model\.activation must be one of relu, .* got 'sigmoyd', "
        r"did you mean 'sigmoid'\?",
    ):
        activation("sigmoyd")


def test_activations_do_not_change_their_input():
    x = torch.tensor([-1.0, 1.0])
    activation("relu")(x)
    assert x.tolist() == [-1.0, 1.0]


def test_order_is_weights_norm_activation_dropout():
    parts = block(nn.Linear(2, 3), nn.BatchNorm1d(3), "tanh", dropout=0.1)
    assert [name for name, _ in parts.named_children()] == [
        "linear",
        "norm",
        "activation",
        "dropout",
    ]
    assert isinstance(block(nn.Conv2d(1, 2, 3), nn.Identity(), "relu").conv, nn.Conv2d)


def test_block_normalizes_before_it_activates():
    linear = nn.Linear(1, 1, bias=False)
    nn.init.ones_(linear.weight)
    y = block(linear, nn.BatchNorm1d(1), "relu")(torch.tensor([[1.0], [3.0]]))
    torch.testing.assert_close(y.flatten(), torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)


def test_no_activation_follows_a_norm_that_contains_one():
    assert isinstance(activation_after(Activating(3, 1), "relu"), nn.Identity)
    assert isinstance(
        block(nn.Linear(2, 3), Activating(3, 1), "sigmoid").activation, nn.Identity
    )
    assert isinstance(activation_after(nn.Identity(), "relu"), nn.ReLU)


def test_an_activation_that_is_not_used_must_exist_too():
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        activation_after(Activating(3, 1), "relo")


def test_a_norm_that_contains_its_activation_is_refused():
    norm = nn.BatchNorm1d(3)
    assert refuse_activation(norm, "gates") is norm
    with pytest.raises(
        ValueError, match="Activating contains its activation, which does not fit gates"
    ):
        refuse_activation(Activating(3, 1), "gates")


def test_pooling_values():
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]]]])
    assert pooling("max", 2)(x).item() == 6
    assert pooling("avg", 2)(x).item() == 3
    with pytest.raises(
        ValueError, match=r"model\.pooling must be one of max, avg, got 'mean'"
    ):
        pooling("mean", 2)


@pytest.mark.parametrize("values", [[0], [8, -1], [1.5], 8, "8", [True], None])
def test_widths_must_be_whole_numbers_above_zero(values):
    with pytest.raises(
        ValueError,
        match=r"model\.hidden must be a list of whole numbers of at least 1, got",
    ):
        widths("model.hidden", values)


@pytest.mark.parametrize("value", [0, -1, 1.0, "8", True, None, [8]])
def test_a_width_must_be_a_whole_number_above_zero(value):
    with pytest.raises(
        ValueError, match=r"model\.width must be a whole number of at least 1, got"
    ):
        positive_integer("model.width", value)


def test_a_whole_number_above_zero_is_returned():
    assert positive_integer("model.width", 8) == 8


def test_widths_count():
    assert widths("model.channels", (6, 16), count=2) == [6, 16]
    with pytest.raises(
        ValueError, match=r"model\.channels must be a list of 2 whole numbers"
    ):
        widths("model.channels", [6], count=2)


def test_long_lists_of_names_are_not_printed():
    with pytest.raises(
        ValueError, match=r"must be one of 30 names, got 'x31', did you mean 'x3'\?"
    ):
        choose("model.name", "x31", [f"x{number}" for number in range(30)])


def test_hidden_layers():
    layers = hidden_layers([4, 3, 2], no_norm, "relu", 0.0, bias=False)
    assert [tuple(layer.linear.weight.shape) for layer in layers] == [(3, 4), (2, 3)]
    assert layers[0].linear.bias is None


def test_image_shape_refuses_tables_and_small_images():
    assert image_shape(LeNet5, [1, 28, 40]) == (1, 28, 40)
    with pytest.raises(
        ValueError,
        match=r"LeNet5 takes images \(C, H, W\), got inputs of shape \(14,\); "
        r"use model=mlp",
    ):
        image_shape(LeNet5, (14,))
    with pytest.raises(
        ValueError,
        match=r"LeNet5 needs images of at least 28 x 28 pixels, got 40 x 8; "
        r"set dataset",
    ):
        image_shape(LeNet5, (1, 40, 8))


def test_token_norm_normalizes_the_last_axis():
    layer = TokenNorm(nn.BatchNorm1d(3))
    x = torch.randn(4, 2, 5, 3)
    expected = (x - x.mean((0, 1, 2))) / x.std((0, 1, 2), correction=0)
    torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        layer(x.flatten(0, 2)), expected.flatten(0, 2), atol=1e-4, rtol=1e-4
    )
    assert TokenNorm(nn.Identity())(x).equal(x)


def test_he_initialization_has_the_stated_variance():
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 64, 3)
    he_initialization(conv)
    assert conv.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.05)
    assert conv.bias.abs().sum() == 0


def test_mlp_is_no_image_model():
    assert MLP.min_image_size is None

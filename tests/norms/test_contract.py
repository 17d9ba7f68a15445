"""What every norm must do.

A norm is tested here from the moment that its file exists in conf/norm/.
"""

import copy
import inspect
from pathlib import Path

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from normlab.config.targets import build
from normlab.models import LeNet5
from normlab.norms import BatchNorm, standardize_weights, torch_batch_norm

CONF = Path(__file__).resolve().parents[2] / "conf" / "norm"
NAMES = sorted(path.stem for path in CONF.glob("*.yaml"))
SHAPES = [(1, (6, 16)), (1, (6, 16, 5)), (2, (6, 16, 4, 3)), (3, (6, 16, 2, 3, 2))]
# nn.Identity takes everything, and PyTorch's layer has messages of its own.
UNCHECKED = (
    "none",
    "weight_norm",
    "scaled_weight_standardization",
    "spectral",
    "torch",
)
CHECKED = [name for name in NAMES if name not in UNCHECKED]
# Norms with which the output of one sample in training depends on the other samples,
# according to their papers.
BATCH_DEPENDENT = {
    "custom",
    "torch",
    "ghost",
    "batch_renorm",
    "noisy_batch",
    "evonorm_b0",
    "switchable",
    "iterative_whitening",
    "batch_channel",
    "instance_batch",
    "moving_average",
    "weight_centralization",
}
# Norms whose evaluation uses a running mean and a running variance.
RUNNING = ["custom", "torch", "ghost", "batch_renorm", "noisy_batch"]
# Norms that use one of the two, or use them in another way. The tests of each of these
# compare its evaluation after some updates with its own closed form.
RUNNING_OTHERWISE = {"evonorm_b0", "switchable", "batch_channel"}
# Norms of which each computes in a way of its own.
COMPILED = [
    *("custom", "group", "rms", "evonorm_b0", "switchable", "iterative_whitening"),
    *("batch_channel", "instance_batch"),
]
# Options without random draws.
SILENT = {"noisy_batch": {"mean_range": 0.0, "scale_range": 1.0, "spread": 0.0}}
# Learning rates of norms that stop learning at the one of the others.
RATES = {"bounded_tanh": 3e-3}
# Configurations by norm: hundreds of tests ask for the same ones.
COMPOSED = {}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def settings(compose):
    def settings_of(name):
        if name not in COMPOSED:
            COMPOSED[name] = OmegaConf.to_container(
                compose(f"norm={name}"), resolve=True
            )
        return copy.deepcopy(COMPOSED[name])

    return settings_of


@pytest.fixture
def make(settings):
    def make_norm(name, num_features, dim, **options):
        return build(settings(name)["norm"] | options)(num_features, dim)

    return make_norm


def draw(shape, dtype=torch.float32, seed=0):
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        .mul(2)
        .add(1)
        .to(dtype)
    )


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_shape_type_and_gradients(make, name, dim, shape):
    layer, x = make(name, 16, dim), draw(shape).requires_grad_()
    y = layer(x)
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    y.square().sum().backward()
    assert x.grad.isfinite().all()
    for key, parameter in layer.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (6, 16, 4, 3)), (2, (6, 16)), (2, (6, 7, 4, 3)), (3, (6, 16, 4, 3))],
)
def test_other_shapes_are_refused_with_both_shapes(make, name, dim, shape):
    with pytest.raises(ValueError) as error:
        make(name, 16, dim)(draw(shape))
    assert "16 channels" in str(error.value)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_are_refused_with_their_type(make, name, dtype, training):
    layer = make(name, 2, 1).train(training)
    with pytest.raises(TypeError, match=f"floating-point input, got {dtype}"):
        layer(torch.tensor([[0, 10], [3, 200]]).to(dtype))


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_a_batch_of_nothing_goes_through_and_is_no_statistic(make, name, dim, shape):
    layer, x = make(name, 16, dim), torch.empty(0, *shape[1:], requires_grad=True)
    before = {key: value.clone() for key, value in layer.named_buffers()}
    y = layer(x)
    assert y.shape == x.shape
    y.sum().backward()
    for key, parameter in layer.named_parameters():
        assert parameter.grad.count_nonzero() == 0, key
    for key, value in layer.named_buffers():
        counts = key.endswith("num_batches_tracked")
        assert counts or torch.equal(value, before[key]), key


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_evaluation_changes_nothing_and_ignores_the_batch(make, name, dim, shape):
    layer, x = make(name, 16, dim), draw(shape)
    layer(x)
    layer.eval()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    together = layer(x)
    assert all(
        torch.equal(before[key], value) for key, value in layer.state_dict().items()
    )
    torch.testing.assert_close(together[:1], layer(x[:1]))


# PyTorch's identity is not asked: it returns its input.
@pytest.mark.parametrize("name", [*CHECKED, "torch"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_the_output_may_be_overwritten(make, name, dim, shape, training, gradients):
    """An activation that works in place must not change the input of the norm."""
    layer, x = make(name, 16, dim).train(training), draw(shape)
    before = x.clone()
    with torch.set_grad_enabled(gradients):
        layer(x).zero_()
    assert torch.equal(x, before)


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_dependence_on_the_batch_is_what_the_paper_claims(make, name, dim, shape):
    layer, x = make(name, 16, dim), draw(shape)
    torch.manual_seed(0)
    first = layer(x)[:1]
    other = torch.cat([x[:1], draw(shape, seed=1)[1:] * 3])
    torch.manual_seed(0)
    again = copy.deepcopy(layer)(other)[:1]
    assert torch.allclose(first, again, atol=1e-6) == (name not in BATCH_DEPENDENT)
    assert getattr(layer, "batch_dependent", name == "torch") == (
        name in BATCH_DEPENDENT
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_in_and_out_with_statistics_in_float32(make, name, dtype):
    layer, x = make(name, 16, 2), draw((8, 16, 5, 5)) + 10
    torch.manual_seed(0)
    expected = copy.deepcopy(layer)(x.to(dtype).float())
    torch.manual_seed(0)
    y = layer(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.04)
    assert all(buffer.dtype != dtype for buffer in layer.buffers())


def test_a_state_dict_comes_back(make, name):
    layer, x = make(name, 16, 2), draw((6, 16, 4, 3))
    layer(x)
    twin = make(name, 16, 2)
    twin.load_state_dict(layer.state_dict())
    assert torch.equal(twin.eval()(x), layer.eval()(x))
    torch.manual_seed(0)
    copied = copy.deepcopy(layer)(x)
    torch.manual_seed(0)
    assert torch.equal(copied, layer(x))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("dim", "shape"), [(1, (6, 16)), (2, (6, 16, 4, 3))], ids=["vectors", "images"]
)
def test_stacked_layers_under_vmap_equal_separate_ones(
    make, name, dim, shape, training
):
    layers, x = (
        [make(name, 16, dim, **SILENT.get(name, {})) for _ in range(2)],
        draw((2, *shape)),
    )
    for layer, part in zip(layers, x, strict=True):
        layer(part)
        layer.train(training)
    parameters, buffers = torch.func.stack_module_state(layers)
    skeleton = copy.deepcopy(layers[0]).to("meta")

    def call(parameters, buffers, x):
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,))

    together = torch.func.vmap(call, randomness="different")(parameters, buffers, x)
    torch.testing.assert_close(
        together,
        torch.stack([layer(part) for layer, part in zip(layers, x, strict=True)]),
    )
    for key, value in buffers.items():
        torch.testing.assert_close(
            value, torch.stack([layer.get_buffer(key) for layer in layers])
        )


@pytest.mark.parametrize("name", CHECKED)
def test_every_option_is_shown(make, settings, name):
    text = repr(make(name, 16, 2))
    for option in settings(name)["norm"]:
        assert option in ("_target_", "_partial_") or f"{option}=" in text, option


def options_of(function):
    """Names of the options that the file of a norm may set.

    Variants of batch norm hand the options they do not know to batch norm.
    """
    parameters = inspect.signature(function).parameters.values()
    handed_on = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    onto = nn.BatchNorm2d if function is torch_batch_norm else BatchNorm
    own = {
        parameter.name
        for parameter in parameters
        if parameter.kind is not parameter.VAR_KEYWORD
    }
    return own | (options_of(onto) if handed_on else set())


# `none` takes everything and does nothing with it.
@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_every_option_that_a_norm_takes_is_in_its_file(make, settings, name):
    part = "reparametrize" if settings(name)["reparametrize"] else "norm"
    written = settings(name)[part]
    missing = options_of(get_object(written["_target_"])) - written.keys()
    missing -= {"num_features", "dim", "network", "device", "dtype"}
    for option in missing:
        with pytest.raises(ValueError, match=f"{option} is no option of"):
            make(name, 16, 2, **{option: True})


# `scaled_weight_standardization` is `weight_standardization` but for an option.
@pytest.mark.parametrize(
    "name",
    [name for name in NAMES if name not in ("none", "scaled_weight_standardization")],
)
def test_defaults_in_python_are_those_of_the_file(settings, name):
    part = "reparametrize" if settings(name)["reparametrize"] else "norm"
    written = settings(name)[part]
    parameters = inspect.signature(get_object(written["_target_"])).parameters
    defaults = {
        option: parameters[option].default
        for option in written
        if option in parameters
        and parameters[option].default is not inspect.Parameter.empty
    }
    assert defaults == {option: written[option] for option in defaults}


def test_a_reset_gives_memory_without_values_the_first_ones(make, name):
    """As FSDP does with layers that were built on the meta device."""
    first = make(name, 16, 2)
    with torch.device("meta"):
        layer = make(name, 16, 2)
    layer.to_empty(device="cpu")
    with torch.no_grad():
        for value in layer.state_dict().values():
            value.fill_(7)
    if first.state_dict():
        layer.reset_parameters()
    torch.testing.assert_close(layer.state_dict(), first.state_dict(), rtol=0, atol=0)


def test_construction_draws_no_random_numbers(make, name):
    before = torch.get_rng_state()
    make(name, 16, 2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("updates", [1, 10, 100])
@pytest.mark.parametrize("name", RUNNING)
def test_inference_after_some_updates_follows_the_closed_form(make, name, updates):
    x = torch.tensor([[3.0], [7.0]], dtype=torch.float64)  # mean 5, unbiased variance 8
    layer = make(name, 1, 1).double()
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    mean, var = 5 * (1 - kept), kept + 8 * (1 - kept)
    expected = (x - mean) / (var + 1e-5) ** 0.5
    torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_evonorms_variance_after_updates_follows_the_closed_form(make, updates):
    x = torch.tensor(
        [[-3.0], [-7.0]], dtype=torch.float64
    )  # unbiased variance 8; v * x is below any deviation
    layer = make("evonorm_b0", 1, 1).double()
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    expected = x / (kept + 8 * (1 - kept) + 1e-5) ** 0.5
    torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-12, atol=1e-12)


def test_no_norm_with_running_statistics_is_left_out_above(make):
    moving = {
        name
        for name in NAMES
        if isinstance(
            getattr(layer := make(name, 16, 2), "running_var", None), torch.Tensor
        )
        and hasattr(layer, "momentum")
    }
    assert moving == {*RUNNING} | RUNNING_OTHERWISE


@pytest.mark.parametrize("name", ["group", "evonorm_s0", "batch_channel"])
def test_groups_must_divide_the_channels_or_say_so(make, name):
    with pytest.raises(ValueError, match="got 32 groups for 6 channels"):
        make(name, 6, 2, num_groups=32, largest_divisor=False)
    assert make(name, 6, 2, num_groups=32).num_groups == 2
    with pytest.raises(ValueError, match="more than one value per group, got 8 groups"):
        make(name, 8, 1)(torch.randn(4, 8))


@pytest.mark.parametrize("name", COMPILED)
def test_it_compiles_into_one_graph(make, name):
    layer, x = make(name, 16, 2), draw((6, 16, 4, 3))
    expected = copy.deepcopy(layer)(x)
    torch.testing.assert_close(
        torch.compile(layer, fullgraph=True, backend="eager")(x), expected
    )


def test_it_trains_in_a_network_with_the_right_activation(settings, name):
    config = settings(name)
    torch.manual_seed(0)
    network = LeNet5(input_shape=(1, 28, 28), num_outputs=3, norm=build(config["norm"]))
    if config["reparametrize"] is not None:
        network = build(config["reparametrize"])(network)
    targets = torch.arange(12) % 3
    x = draw((3, 1, 28, 28))[targets] + 0.1 * draw((12, 1, 28, 28), seed=1)
    rate = RATES.get(name, 1e-2)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(network(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    relus = sum(isinstance(layer, nn.ReLU) for layer in network.modules())
    assert relus == (
        0 if name in ("filter_response", "evonorm_b0", "evonorm_s0") else 4
    )


@pytest.fixture(
    params=[
        name for name in NAMES if "reparametrize" in (CONF / f"{name}.yaml").read_text()
    ]
)
def network_on_weights(request, settings):
    def make_network(seed=0):
        config = settings(request.param)
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(6, 16), build(config["norm"])(16, 1), nn.Linear(16, 3)
        )
        # In evaluation, since power iteration takes a step in every pass of training.
        return build(config["reparametrize"])(network).eval()

    return make_network


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_norms_on_weights_in_half_precision(network_on_weights, dtype):
    network, x = network_on_weights().to(dtype), draw((8, 6)).to(dtype)
    expected = copy.deepcopy(network).float()(x.float())
    y = network(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=0.02, atol=0.04)


def test_the_state_of_norms_on_weights_comes_back(network_on_weights):
    network, twin, x = network_on_weights(), network_on_weights(seed=1), draw((8, 6))
    assert not torch.equal(twin(x), network(x))
    twin.load_state_dict(network.state_dict())
    copied = copy.deepcopy(network)
    assert torch.equal(twin(x), network(x))
    assert torch.equal(copied(x), network(x))
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert torch.equal(twin(x), network(x))


@pytest.mark.filterwarnings(
    "ignore:There is a performance drop"
)  # PyTorch's weight norm has no batching rule
def test_stacked_norms_on_weights_under_vmap_equal_separate_ones(network_on_weights):
    networks, x = [network_on_weights(seed) for seed in range(2)], draw((2, 8, 6))
    parameters, buffers = torch.func.stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")

    def call(parameters, buffers, x):
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,))

    together = torch.func.vmap(call)(parameters, buffers, x)
    separate = torch.stack(
        [network(part) for network, part in zip(networks, x, strict=True)]
    )
    torch.testing.assert_close(together, separate)


def test_options_of_standardized_weights_are_shown():
    (layer,) = standardize_weights(
        nn.Sequential(nn.Linear(4, 2)), scaled=True, skip_output=False
    )
    assert (
        repr(layer.parametrizations.weight[0])
        == "StandardizedWeight(eps=1e-05, gain=0.85695)"
    )

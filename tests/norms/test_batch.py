import copy
import pickle

import pytest
import torch
from torch import nn

from normlab.norms import BatchNorm, BatchNorm1d, BatchNorm2d, BatchNorm3d
from norms.helpers import assert_alike, channels, draw, over_channels, randomized, step

OURS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
THEIRS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
SHAPES = [(1, (6, 4)), (1, (6, 4, 5)), (2, (3, 4, 5, 6)), (3, (3, 4, 2, 3, 2))]
OPTIONS = [
    {},
    {"momentum": None},
    {"momentum": 0.3, "eps": 1e-2},
    {"affine": False},
    {"track_running_stats": False},
    {"affine": False, "track_running_stats": False},
    {"bias": False},
]


def pair(dim, dtype=torch.float64, **options):
    return OURS[dim](4, **options).to(dtype), THEIRS[dim](4, **options).to(dtype)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_100_steps_equal_torchs(dim, shape, options):
    torch.manual_seed(0)
    ours, theirs = pair(dim, **options)
    for _ in range(100):
        x, dy = 3 * torch.randn(shape).double() + 2, torch.randn(shape).double()
        assert_alike(step(ours, x, dy), step(theirs, x, dy), 1e-10)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert_alike(ours.state_dict().values(), theirs.state_dict().values(), 1e-10)
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 2e-3)],
)
def test_lower_precision_equals_torchs_to_its_rounding(dtype, tolerance):
    torch.manual_seed(0)
    ours, theirs = pair(2, torch.float32)
    x, dy = (torch.randn(16, 4, 5, 5) + 3).to(dtype), torch.randn(16, 4, 5, 5).to(dtype)
    assert_alike(step(ours, x, dy), step(theirs, x, dy), tolerance)
    assert ours.running_var.dtype == torch.float32


def test_values_worked_by_head():
    layer = BatchNorm1d(1, eps=0.0)
    assert layer(torch.tensor([[1.0], [3.0]])).tolist() == [[-1.0], [1.0]]
    assert layer.running_mean.tolist() == pytest.approx([0.2])  # 0.9 * 0 + 0.1 * 2
    assert layer.running_var.tolist() == pytest.approx(
        [1.1]
    )  # 0.9 * 1 + 0.1 * 2, the unbiased variance


@pytest.mark.parametrize("updates", [1, 10, 100])
def test_inference_after_some_updates_follows_the_closed_form(updates):
    x = torch.tensor([[3.0], [7.0]], dtype=torch.float64)  # mean 5, unbiased variance 8
    layer = BatchNorm1d(1).double()
    for _ in range(updates):
        layer(x)
    kept = 0.9**updates
    mean, var = 5 * (1 - kept), kept + 8 * (1 - kept)
    expected = (x - mean) / (var + 1e-5) ** 0.5
    torch.testing.assert_close(layer.eval()(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_training_by_the_formula_with_random_state(dim, shape):
    layer = randomized(BatchNorm(4, dim, eps=0.3, momentum=0.25))
    before = copy.deepcopy(layer)
    x = draw(*shape)
    mean = over_channels(torch.mean, x)
    var = over_channels(lambda values: values.var(correction=0), x)
    unbiased = over_channels(torch.var, x)
    xhat = (x - mean) / (var + 0.3).sqrt()
    y = xhat * channels(layer.weight, x) + channels(layer.bias, x)
    torch.testing.assert_close(layer(x), y)
    average = 0.75 * channels(before.running_mean, x) + 0.25 * mean
    torch.testing.assert_close(channels(layer.running_mean, x), average)
    average = 0.75 * channels(before.running_var, x) + 0.25 * unbiased
    torch.testing.assert_close(channels(layer.running_var, x), average)


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_evaluation_by_the_formula_with_random_state(dim, shape):
    layer = randomized(BatchNorm(4, dim, eps=0.3)).eval()
    x = draw(*shape)
    mean = channels(layer.running_mean, x)
    var = channels(layer.running_var, x)
    y = (x - mean) / (var + 0.3).sqrt() * channels(layer.weight, x)
    torch.testing.assert_close(layer(x), y + channels(layer.bias, x))


def test_a_reset_forgets_batches_and_parameters():
    layer = randomized(BatchNorm(4, 1))
    layer(draw(6, 4))
    layer.reset_parameters()
    fresh = BatchNorm(4, 1).double().state_dict()
    assert all(
        torch.equal(fresh[key], value) for key, value in layer.state_dict().items()
    )
    BatchNorm(4, 1, affine=False, track_running_stats=False).reset_parameters()


def test_the_mode_comes_from_training_alone():
    layer, x = BatchNorm1d(2), torch.randn(5, 2)
    with torch.no_grad():
        layer(x)
    assert layer.num_batches_tracked.item() == 1
    before = copy.deepcopy(layer.state_dict())
    layer.eval()(x.requires_grad_()).sum().backward()
    assert all(
        torch.equal(before[key], value) for key, value in layer.state_dict().items()
    )


@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (1, 4)), (1, (1, 4, 1)), (2, (1, 4, 1, 1)), (3, (1, 4, 1, 1, 1))],
)
def test_one_value_per_channel_is_refused_in_training(dim, shape):
    layer = OURS[dim](4)
    with pytest.raises(ValueError, match="more than one value per channel"):
        layer(torch.randn(shape))
    assert layer.eval()(torch.randn(shape)).shape == shape


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("dim", "shape"), [(1, (1, 4)), (2, (1, 4, 1, 1))])
def test_one_value_per_channel_is_refused_without_running_averages(
    dim, shape, training
):
    for layer in pair(dim, torch.float32, track_running_stats=False):
        with pytest.raises(ValueError, match="(?i)more than (one|1) value per channel"):
            layer.train(training)(torch.randn(shape))
        assert layer(torch.randn(0, *shape[1:])).shape == (0, *shape[1:])


@pytest.mark.parametrize(
    ("dim", "shape"),
    [(1, (2, 4, 3, 3)), (2, (2, 4)), (2, (2, 5, 3, 3)), (3, (2, 4, 3, 3))],
)
def test_other_shapes_are_refused_with_both_shapes(dim, shape):
    with pytest.raises(ValueError) as error:
        OURS[dim](4)(torch.randn(shape))
    assert "4 channels" in str(error.value)
    assert str(shape) in str(error.value)


def test_state_dicts_load_in_both_directions():
    ours, theirs = pair(2)
    step(theirs, torch.randn(3, 4, 2, 2).double(), torch.randn(3, 4, 2, 2).double())
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 4, 2, 2).double()
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-12, atol=1e-12)


def test_old_state_dicts_have_no_counter():
    state = nn.BatchNorm2d(4).state_dict()
    del state["num_batches_tracked"]
    state._metadata = {"": {"version": 1}}
    layer = BatchNorm2d(4)
    layer.load_state_dict(state)
    assert layer.num_batches_tracked.item() == 0


def test_copies_and_pickles_after_a_step():
    layer, x = BatchNorm1d(3), torch.randn(6, 3)
    layer(x).sum().backward()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin.eval()(x), layer.eval()(x))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_it_saves_no_more_for_backward_than_torchs(options):
    def saved_bytes(layer):
        sizes = []
        x = torch.randn(8, 4, 16, 16, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.nbytes) or t, lambda t: t
        ):
            layer(x)
        return sum(sizes)

    assert saved_bytes(BatchNorm2d(4, **options)) <= saved_bytes(
        nn.BatchNorm2d(4, **options)
    )


def test_buffers_do_not_grow_a_graph():
    layer = BatchNorm1d(3)
    buffers = dict(layer.named_buffers())
    for _ in range(5):
        layer(torch.randn(6, 3, requires_grad=True)).sum().backward()
    assert not any(buffer.requires_grad for buffer in buffers.values())
    assert all(buffer is buffers[name] for name, buffer in layer.named_buffers())


def test_vmap_over_stacked_layers_equals_separate_layers():
    torch.manual_seed(0)
    layers = [BatchNorm1d(3) for _ in range(2)]
    x = torch.randn(2, 6, 3)
    parameters, buffers = torch.func.stack_module_state(
        [copy.deepcopy(layer) for layer in layers]
    )
    skeleton = BatchNorm1d(3).to("meta")

    def call(parameters, buffers, x):
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,))

    together = torch.func.vmap(call)(parameters, buffers, x)
    apart = torch.stack([layer(part) for layer, part in zip(layers, x, strict=True)])
    torch.testing.assert_close(together, apart)
    torch.testing.assert_close(
        buffers["running_var"], torch.stack([layer.running_var for layer in layers])
    )


def test_options_are_shown():
    text = repr(BatchNorm(4, 2, eps=1e-3, momentum=None, sync=True))
    assert text == (
        "BatchNorm(4, dim=2, eps=0.001, momentum=None, affine=True, "
        "track_running_stats=True, bias=True, sync=True, kernel=auto)"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "cuda"}, "must be one of auto, eager, triton, got 'cuda'"),
        (
            {"kernel": "triton", "sync": True},
            "use norm.kernel=auto with norm.sync=true",
        ),
    ],
)
def test_kernels_that_do_not_exist_or_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BatchNorm(4, 2, **options)


def test_construction_draws_no_random_numbers():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    BatchNorm2d(4)
    assert torch.equal(before, torch.get_rng_state())


def test_the_constructors_are_torchs():
    for ours, theirs in (
        (BatchNorm1d, nn.BatchNorm1d),
        (BatchNorm2d, nn.BatchNorm2d),
        (BatchNorm3d, nn.BatchNorm3d),
    ):
        layers = [
            cls(4, 1e-3, 0.2, True, True, "cpu", torch.float64, bias=False)
            for cls in (ours, theirs)
        ]
        for layer in layers:
            assert (layer.eps, layer.momentum, layer.weight.dtype, layer.bias) == (
                1e-3,
                0.2,
                torch.float64,
                None,
            )
        assert layers[0].dim == {BatchNorm1d: 1, BatchNorm2d: 2, BatchNorm3d: 3}[ours]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(512, 4), (64, 4, 7, 7)])
def test_evaluation_of_a_layer_in_half_precision_is_as_exact_as_torchs(dtype, shape):
    """Against float64, by the same parameters, which half precision has rounded."""
    dim = max(1, len(shape) - 2)
    ours = randomized(OURS[dim](4)).to(dtype).eval()
    theirs = THEIRS[dim](4).to(dtype).eval()
    theirs.load_state_dict(ours.state_dict())
    exact = copy.deepcopy(theirs).double()
    x = draw(*shape, dtype=dtype)
    dy = draw(*shape, seed=1, dtype=dtype)

    expected = step(exact, x.double(), dy.double())
    found = [value.double() for value in step(ours, x, dy)]
    others = [value.double() for value in step(theirs, x, dy)]
    unit = torch.finfo(dtype).eps
    for own, other, value in zip(found, others, expected, strict=True):
        error = (own - value).abs()
        assert (error <= 0.51 * unit * value.abs() + unit**2).all()  # rounded once
        assert error.max() <= 1.01 * (other - value).abs().max() + unit**2

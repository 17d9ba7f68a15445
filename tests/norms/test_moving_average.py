"""Values of moving average batch norm, step by step from the equations."""

import copy

import pytest
import torch
from torch.autograd import forward_ad

from normlab.norms import BatchNorm, MovingAverageBatchNorm
from norms.helpers import channels, draw, randomized

SHAPES = [(1, (5, 3)), (1, (4, 3, 6)), (2, (2, 3, 4, 5)), (3, (2, 3, 2, 3, 2))]
OPTIONS = {"window": 3, "warmup_steps": 5, "r_warmup_steps": 7, "r_max": 1.2}


def mean_of(values):
    """The mean of every channel, by a loop."""
    return torch.stack([values[:, c].mean() for c in range(values.shape[1])])


class Equations:
    """The paper's equations in plain tensors, with lists in the place of buffers.

    The first batches and the order of the updates are those of the authors' code.
    """

    def __init__(self, weight, bias, eps, momentum):
        self.weight, self.bias = weight, bias
        self.eps, self.momentum = eps, momentum
        self.running = torch.ones_like(weight)
        self.squares, self.products = [], []

    def forward(self, x, window, warmup_steps, r_max, r_warmup_steps):
        self.squares.append(mean_of(x**2))
        self.step = len(self.squares)
        self.window = window
        self.by_itself = self.step <= window or self.step < warmup_steps
        chi2 = self.squares[-1]
        if not self.by_itself:
            chi2 = sum(self.squares[-window:]) / window
        self.chi = (chi2 + self.eps).sqrt()
        self.r = torch.ones_like(chi2)
        if self.step > max(r_warmup_steps, warmup_steps):
            ratio = self.chi / (self.running + self.eps).sqrt()
            self.r = ratio.clamp(1 / r_max, r_max)
        self.running = self.running * (1 - self.momentum) + chi2 * self.momentum
        self.z = x / channels(self.chi, x)
        self.y = self.z * channels(self.r, x)
        return self.y * channels(self.weight, x) + channels(self.bias, x)

    def backward(self, dy):
        """Gradients of input, scale and shift."""
        g = dy * channels(self.weight * self.r, dy)
        self.products.append(mean_of(g * self.z))
        psi = self.products[-1]
        if not self.by_itself:
            psi = sum(self.products[-self.window :]) / self.window
        dx = (g - self.z * channels(psi, dy)) / channels(self.chi, dy)
        count = dy.numel() / dy.shape[1]
        return dx, mean_of(dy * self.y) * count, mean_of(dy) * count


def new(num_features, dim, **options):
    """A layer with random scale and shift that has seen no batch."""
    layer = MovingAverageBatchNorm(num_features, dim, **options)
    first = copy.deepcopy(layer.double().state_dict())
    randomized(layer)
    learned = {"weight": layer.weight.data, "bias": layer.bias.data}
    layer.load_state_dict(first | learned)
    return layer


def drifting(shape, step):
    """Batches whose scale and mean change, so that no two statistics are alike."""
    return draw(*shape, seed=step) * (1 + step / 4) - step / 3


@pytest.mark.parametrize(("dim", "shape"), SHAPES)
def test_steps_are_those_of_the_equations(dim, shape):
    layer = new(3, dim, eps=0.1, momentum=0.3, **OPTIONS)
    other = Equations(layer.weight.detach(), layer.bias.detach(), 0.1, 0.3)
    clipped = []
    for step in range(1, 13):
        x, dy = drifting(shape, step), draw(*shape, seed=100 + step)
        expected = other.forward(x, **OPTIONS)
        gradients = other.backward(dy)
        x.requires_grad_()
        y = layer(x)
        layer.zero_grad()
        y.backward(dy)
        torch.testing.assert_close(y, expected)
        found = (x.grad, layer.weight.grad, layer.bias.grad)
        torch.testing.assert_close(found, gradients)
        torch.testing.assert_close(layer.running_mean_square, other.running)
        clipped += ((other.r == 1.2) | (other.r == 1 / 1.2)).tolist()
    assert {True, False} == set(clipped[3 * 7 :])  # r was free and at its limits
    x = drifting(shape, 13)
    expected = x / channels((other.running + 0.1).sqrt(), x)
    expected = expected * channels(other.weight, x) + channels(other.bias, x)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_one_channel_worked_by_head():
    layer = MovingAverageBatchNorm(
        1, 1, window=2, warmup_steps=0, r_warmup_steps=2, eps=0.0, momentum=0.5
    ).double()
    layer(torch.tensor([[1.0], [-1.0]], dtype=torch.float64))  # 1; the average is 1
    x = torch.tensor([[1.0], [-7.0]], dtype=torch.float64, requires_grad=True)
    layer(x).backward(torch.tensor([[5.0], [0.0]], dtype=torch.float64))
    assert layer.running_mean_square.item() == 13.0  # of 1 and 25
    assert layer.recent_products.tolist() == [[0.5], [0.0]]  # 5 * 1/5 / 2
    x = torch.tensor([[2.0], [4.0]], dtype=torch.float64, requires_grad=True)
    y = layer(x)  # mean squares 25 and 10, whose mean is 17.5
    r = (17.5 / 13) ** 0.5
    torch.testing.assert_close(y, x / 13**0.5)
    y.sum().backward()
    product = (r * 6 / 17.5**0.5 / 2 + 0.5) / 2
    torch.testing.assert_close(x.grad, (r - x / 17.5**0.5 * product) / 17.5**0.5)


def test_the_first_batches_have_the_derivative_as_gradient():
    layer = new(3, 2, eps=0.1)
    x = draw(2, 3, 2, 2).requires_grad_()
    torch.autograd.gradcheck(layer, (x,))


def test_defaults_start_averaging_at_batch_100():
    layer, x = MovingAverageBatchNorm(1, 1).double(), draw(4, 1)
    for step in range(1, 101):
        y = layer(x * step)
        alone = torch.allclose(y, x / x.square().mean().sqrt(), atol=1e-4)
        assert alone == (step < 100)


def test_accumulated_batches_go_backward_after_all_went_forward():
    one, two = (new(3, 1, window=2, warmup_steps=0, r_warmup_steps=0) for _ in "ab")
    batches = [draw(5, 3, seed=seed).requires_grad_() for seed in range(6)]
    again = [x.detach().clone().requires_grad_() for x in batches]
    for first, second in zip(again[::2], again[1::2], strict=True):
        outputs = [one(first), one(second)]
        for y in outputs:
            y.square().sum().backward()
    for x in batches:
        two(x).square().sum().backward()
    for mine, other in zip(again, batches, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)
    torch.testing.assert_close(one.recent_products, two.recent_products)


def test_a_stored_state_goes_on_with_the_same_bits():
    layer = new(3, 2, **OPTIONS)
    steps = [(drifting((2, 3, 4, 5), step), draw(2, 3, 4, 5)) for step in range(12)]
    for x, dy in steps[:6]:
        layer(x.requires_grad_()).backward(dy)
    twin = MovingAverageBatchNorm(3, 2, **OPTIONS).double()
    twin.load_state_dict(copy.deepcopy(layer.state_dict()))
    for x, dy in steps[6:]:
        own, others = (x.clone().requires_grad_() for _ in "ab")
        layer(own).backward(dy)
        twin(others).backward(dy)
        assert torch.equal(own.grad, others.grad)
    for name, value in layer.state_dict().items():
        assert torch.equal(twin.state_dict()[name], value), name


def test_infinite_gradients_are_not_remembered():
    layer = new(3, 1, window=2, warmup_steps=0)
    for seed in range(3):
        layer(draw(5, 3, seed=seed)).sum().backward()
    before = layer.recent_products.clone()
    dy = torch.ones(5, 3, dtype=torch.float64)
    dy[0, 1] = torch.inf
    x = draw(5, 3, seed=4).requires_grad_()
    layer(x).backward(dy)
    assert not x.grad[:, 1].isfinite().any()
    assert x.grad[:, ::2].isfinite().all()
    assert torch.equal(layer.recent_products[:, 1], before[:, 1])
    assert (layer.recent_products != before).sum() == 2


def test_stacked_layers_have_the_gradients_of_separate_ones():
    options = {"window": 2, "warmup_steps": 0, "r_warmup_steps": 0}
    alone = [MovingAverageBatchNorm(3, 2, **options).double() for _ in range(2)]
    stacked = copy.deepcopy(alone)
    parameters, buffers = torch.func.stack_module_state(stacked)
    skeleton = copy.deepcopy(stacked[0]).to("meta")

    def call(parameters, buffers, x):
        return torch.func.functional_call(skeleton, (parameters, buffers), (x,))

    for seed in range(5):
        x = draw(2, 4, 3, 2, 2, seed=seed).requires_grad_()
        parts = [part.detach().clone().requires_grad_() for part in x]
        together = torch.vmap(call)(parameters, buffers, x)
        together.pow(3).sum().backward()
        for layer, part in zip(alone, parts, strict=True):
            layer(part).pow(3).sum().backward()
        torch.testing.assert_close(x.grad, torch.stack([part.grad for part in parts]))
    products = torch.stack([layer.recent_products for layer in alone])
    torch.testing.assert_close(buffers["recent_products"], products)


@pytest.mark.filterwarnings("ignore:`torch.jit.script:FutureWarning")
def test_second_derivatives_and_forward_mode_are_refused():
    layer, x = new(3, 1), draw(5, 3).requires_grad_()
    refused = pytest.raises(RuntimeError, match="norm=moving_average has first deriv")
    with refused:
        torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with forward_ad.dual_level(), refused:
        layer(forward_ad.make_dual(x.detach(), x.detach()))
    torch.autograd.gradgradcheck(layer.eval(), (x,))


@pytest.mark.parametrize("options", [{"window": 0}, {"r_max": 0.5}])
def test_options_below_one_are_refused(options):
    with pytest.raises(ValueError, match="window and r_max must be at least 1"):
        MovingAverageBatchNorm(4, 1, **options)


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_a_compiled_layer_averages_gradients_too():
    layer = new(3, 1, window=2, warmup_steps=0, r_warmup_steps=0)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(twin, backend="eager")
    for seed in range(4):
        own, others = (draw(5, 3, seed=seed).requires_grad_() for _ in "ab")
        layer(own).pow(3).sum().backward()
        compiled(others).pow(3).sum().backward()
        torch.testing.assert_close(others.grad, own.grad)
    torch.testing.assert_close(twin.state_dict(), layer.state_dict())
    torch.compiler.reset()


def test_batches_of_two_values_have_a_gradient_unlike_in_batch_norm():
    """Of two values batch norm leaves the signs, through which no gradient flows."""
    generator = torch.Generator().manual_seed(0)
    layers = (MovingAverageBatchNorm(1, 1, warmup_steps=0), BatchNorm(1, 1))
    gradients = ([], [])
    for _ in range(200):
        x = torch.randn(2, 1, generator=generator)
        for layer, found in zip(layers, gradients, strict=True):
            x = x.detach().requires_grad_()
            layer(x).pow(3).sum().backward()
            found.append(x.grad.abs().max().item())
    ours, theirs = (torch.tensor(found[20:]) for found in gradients)
    assert ours.median() > 10 * theirs.median()
